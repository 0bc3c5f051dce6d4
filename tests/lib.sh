# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# What the test scripts share: a temporary folder that goes away, a pandod of their own, TAP.
#
#   . tests/lib.sh
#   need_netns "$@"            # where port 111 is needed: a network of our own
#   new_pool 2G; start_pandod  # sets PID, PORT, SOCKET; the pool is $T/pool
#   t "what should be" command args...
#   finish
#
# PANDOD, PANDO and BUILD come from tests/run; a script started by hand finds build/ itself.

TOP=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
BUILD=${BUILD:-$TOP/build}
PANDOD=${PANDOD:-$BUILD/pandod}
PANDO=${PANDO:-$BUILD/pando}
export LC_ALL=C.UTF-8

T=$(mktemp -d "${TMPDIR:-/tmp}/pando-test.XXXXXX")
SOCKET=$T/socket
LOG=$T/pandod.log
PID=
PORT=
CHILDREN=()
TESTS=0
FAILED=0
exec 3>&1			# the test's own output, also inside t

cleanup() {
	local pid

	for pid in $PID "${CHILDREN[@]}"; do
		kill -9 "$pid" 2>/dev/null
		wait "$pid" 2>/dev/null
	done
	rm -rf "$T"
}
trap cleanup EXIT
trap 'exit 1' INT TERM

skip() { echo "SKIP: $*"; exit 77; }
die() { echo "FAILED: $*" >&3; log_tail >&3; exit 1; }
log_tail() { [ ! -s "$LOG" ] || { echo "pandod's log ends:"; tail -20 "$LOG"; }; }

[ -x "$PANDOD" ] || die "$PANDOD is not built: run make build"

# Goes on in a network namespace of its own, where nobody has port 111 and nobody outside can
# reach us.  The script starts over in it.
need_netns() {
	if [ -n "${IN_NETNS:-}" ]; then
		ip link set lo up || die "no loopback in the network namespace"
		return
	fi
	if unshare -n true 2>/dev/null; then
		rm -rf "$T"
		IN_NETNS=1 exec unshare -n "$0" "$@"
	elif unshare -rn true 2>/dev/null; then
		rm -rf "$T"
		IN_NETNS=1 exec unshare -rn "$0" "$@"
	fi
	skip "network namespaces are not allowed here (unshare -n)"
}

# t NAME COMMAND...: one TAP point, ok when the command succeeds.  It runs in this shell: it may
# start and end a pandod.
t() {
	local name=$1

	shift
	TESTS=$((TESTS + 1))
	if "$@" >"$T/t.out" 2>&1; then
		echo "ok $TESTS - $name"
	else
		echo "not ok $TESTS - $name"
		tail -30 "$T/t.out" | sed 's/^/#   /' | awk 1	# awk ends the last line
		FAILED=$((FAILED + 1))
	fi
}

fails() { ! "$@"; }

finish() {
	echo "1..$TESTS"
	[ $FAILED = 0 ] || log_tail
	exit $((FAILED > 0))
}

wait_for() {	# wait_for SECONDS COMMAND...
	local end=$((SECONDS + $1))

	shift
	until "$@" >/dev/null 2>&1; do
		[ $SECONDS -lt $end ] || return 1
		sleep 0.05
	done
}

pando() { "$PANDO" "$@"; }

new_pool() { "$PANDO" pool create "$T/pool" --size "${1:-2G}" || die "cannot make a pool"; }

# A port that nobody else is given by chance while a server is down for a moment: the kernel gives out
# those from 32768 on.
own_port() {
	local port

	for _ in {1..100}; do
		port=$((10240 + (RANDOM << 15 | RANDOM) % 20000))
		grep -q ":$(printf %04X $port) " /proc/net/tcp /proc/net/tcp6 || { echo $port; return; }
	done
	die "no port is free"
}

# Starts pandod on $T/pool and waits until it serves: more arguments are its.  LISTEN chooses
# the address.
start_pandod() {
	local line

	mkfifo "$T/ready"
	"$PANDOD" --pool "$T/pool" --socket "$SOCKET" --listen "${LISTEN:-127.0.0.1:$(own_port)}" \
		--portmap "${PORTMAP:-off}" --ready-fd 9 "$@" 9>"$T/ready" >>"$LOG" 2>&1 &
	PID=$!
	if ! IFS= read -r -t 60 line <"$T/ready"; then
		rm -f "$T/ready"
		die "pandod did not become ready"
	fi
	rm -f "$T/ready"
	PORT=$(sed -n 's/.*NFS on [^ ]*:\([0-9]*\),.*/\1/p' <<<"$line")
	export PANDO_SOCKET=$SOCKET
}

kill_pandod() { kill -9 "$PID" && wait "$PID" 2>/dev/null; PID=; }
stop_pandod() {
	local pid=$PID

	PID=
	kill -TERM "$pid"
	wait "$pid" || die "pandod did not leave cleanly"
}

# Offline, and nothing may be off.
check_pool() { "$PANDO" pool check "$T/pool"; }

field() { python3 -c 'import json,sys; print(json.load(sys.stdin)[sys.argv[1]])' "$1"; }
