# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# Machines that run while a test goes on, to be told what to do: sourced behind lib.sh.
#
#	guest_start A B...		boots them; they mount nothing; returns when all listen
#	in_guest A COMMAND...		a line for a shell that stays (agent): its output, its exit code
#	guest_points A WHAT COMMAND...	the same; the TAP points that it prints become ours
#	guest_stop A			switches it off; fails if it wasn't well
#	guest_kill A			as if the power had failed
#
# The server is at $PORT, and GUEST_PROGRAMS are in /bin.  busybox is there, rangetool, fsx-mount.
# IP_OF[A] and NIC_OF[A] are kernel-boot's GUEST_IP and GUEST_NIC, if they are to be other than usual.

. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"

GUEST=$TOP/tests/guest
export KERNEL_DIR=$TOP/build/guest-kernel
declare -A GUEST_IN GUEST_OUT GUEST_BOOT IP_OF NIC_OF

[ "$(dpkg --print-architecture)" = amd64 ] || skip "the guest kernel is for amd64 only"

guest_start() {
	local name

	for name; do guest_boot "$name"; done
	for name; do guest_await "$name"; done
}

guest_boot() {
	local name=$1 line=$T/guest-$1 fd

	mkfifo "$line.in" "$line.out"
	exec {fd}<>"$line.in"
	GUEST_IN[$name]=$fd
	exec {fd}<>"$line.out"
	GUEST_OUT[$name]=$fd
	GUEST_LINE=$line GUEST_NAME=$name NFS_PORT=$PORT NFS_PATH='' GUEST_TIMEOUT=${GUEST_TIMEOUT:-900} \
		GUEST_IP=${IP_OF[$name]:-10.0.2.15} GUEST_NIC=${NIC_OF[$name]:-user} \
		GUEST_PROGRAMS="$BUILD/tests/guest/rangetool $BUILD/tests/guest/fsx-mount ${GUEST_PROGRAMS:-}" \
		"$GUEST/kernel-boot" "$GUEST/agent" >"$line.log" 2>&1 &
	GUEST_BOOT[$name]=$!
}

guest_await() {
	local name=$1 line=$T/guest-$1 answer end=$((SECONDS + 120))

	until IFS= read -r -t 1 -u "${GUEST_OUT[$name]}" answer; do
		[ $SECONDS -lt $end ] && kill -0 "${GUEST_BOOT[$name]}" 2>/dev/null || guest_failed "$name"
	done
	CHILDREN+=("$(cat "$line.pid")")
}

guest_failed() {
	local line=$T/guest-$1

	[ ! -s "$line.pid" ] || kill -9 "$(cat "$line.pid")"
	wait "${GUEST_BOOT[$1]}"
	[ $? != 77 ] || skip "$(sed -n 's/^SKIP: //p' "$line.log")"
	cat "$line.log" >&3
	die "the guest $1 did not start"
}

in_guest() {
	local name=$1 line

	shift
	case $* in *$'\n'*) die "more than a line: $*" ;; esac
	echo "$*" >&"${GUEST_IN[$name]}"
	while IFS= read -r -t "${GUEST_PATIENCE:-300}" -u "${GUEST_OUT[$name]}" line; do
		case $line in
		'| '*) echo "${line#| }" ;;
		'= '*) return "${line#= }" ;;
		esac
	done
	echo "the guest $name does not answer"
	return 99
}

guest_points() {
	local name=$1 what=$2 line plan=0

	shift 2
	while IFS= read -r line; do
		case $line in
		ok\ *) TESTS=$((TESTS + 1)); echo "ok $TESTS - $what: ${line#* - }" ;;
		not\ ok\ *)
			TESTS=$((TESTS + 1)) FAILED=$((FAILED + 1))
			echo "not ok $TESTS - $what: ${line#* - }" ;;
		1..*) plan=${line#1..} ;;
		*) echo "$line" ;;
		esac
	done < <(in_guest "$name" "$@")
	t "$what: the guest came to the end" [ "$plan" -gt 0 ]
}

guest_forget() {
	exec {GUEST_IN[$1]}>&- {GUEST_OUT[$1]}>&-
	rm -f "$T/guest-$1".{in,out,pid}
}

guest_stop() {
	local code

	echo poweroff >&"${GUEST_IN[$1]}"
	wait "${GUEST_BOOT[$1]}"
	code=$?
	[ $code = 0 ] || cat "$T/guest-$1.log"
	guest_forget "$1"
	return $code
}

guest_kill() {
	kill -9 "$(cat "$T/guest-$1.pid")"
	wait "${GUEST_BOOT[$1]}"
	guest_forget "$1"
}

# Starts the server, always at the same port, with the options in SERVER.
SERVER=()
serve() { LISTEN=${PORT:+127.0.0.1:$PORT} start_pandod "${SERVER[@]}"; }
restart_pandod() { kill_pandod; serve; }

# The command runs in the guest, its output goes to $T/through.out; meanwhile the server dies,
# RESTARTS times at most (2), every EVERY seconds (5) or so.  A client is back some four seconds
# later.
through_restarts() {
	local name=$1 pid restarts=0

	shift
	in_guest "$name" "$@" >"$T/through.out" 2>&1 &
	pid=$!
	sleep 1.$((RANDOM % 1000))
	while kill -0 $pid 2>/dev/null && [ $restarts -lt "${RESTARTS:-2}" ]; do
		restart_pandod
		restarts=$((restarts + 1))
		wait_for $((${EVERY:-5} - 1 + RANDOM % 3)) fails kill -0 $pid
	done
	echo "# $restarts restarts" >&3
	wait $pid
}
