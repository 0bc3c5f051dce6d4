# SPDX-License-Identifier: Apache-2.0
# Functions for a guest's shell, that hold locks or wait for them in the background.  KIND is "lock"
# (a write lock of bytes 100 to 199) or "flock" (all of it); the file is /mnt/file.
lock_args() { case $1 in lock*) echo "$1 /mnt/file w 100 100" ;; *) echo "$1 /mnt/file w" ;; esac; }

seconds() { cut -d. -f1 /proc/uptime; }

# Can it be had?  It is given back at once.
free() { rangetool $(lock_args $1) true; }
taken() { out=$(free $1) && return 1; [ "$out" = "$1: EAGAIN" ] || { echo "$out"; return 1; }; }

hold() {	# hold KIND: returns when it is held
	: >/tmp/held
	rangetool $(lock_args $1) sh -c 'echo $$ >/tmp/held; exec sleep 1000' &
	holder=$!
	until [ -s /tmp/held ]; do
		kill -0 $holder || return 1
		usleep 20000
	done
}
release() { kill "$(cat /tmp/held)"; wait $holder; [ $? = 1 ] && return 0; }

# write_under KIND: lines are written one by one to the file under the lock, 3 by rangetool, until
# written() says that it is enough; none may be missing.
write_under() {
	rm -f /tmp/stop
	: >/tmp/held
	rangetool $(lock_args $1) sh -c 'i=0
		until [ -e /tmp/stop ]; do
			i=$((i + 1))
			echo $i >&3 || exit 3
			echo $i >/tmp/held
			usleep 50000
		done' &
	holder=$!
	until [ "$(cat /tmp/held)" -gt 5 ]; do usleep 50000; done
}
written() {
	: >/tmp/stop
	wait $holder || return 1
	echo 3 >/proc/sys/vm/drop_caches
	seq "$(cat /tmp/held)" | cmp - /mnt/file && : >/mnt/file
}

# The process that has it dies, by SIGKILL.
die() { kill -9 $holder; wait $holder 2>/dev/null; kill "$(cat /tmp/held)"; }

queue() {	# queue KIND: waits for it in the background
	: >/tmp/got
	rangetool $(lock_args ${1}w) sh -c 'cut -d" " -f1 /proc/uptime >/tmp/got' &
	waiter=$!
	usleep 500000
	kill -0 $waiter && [ ! -s /tmp/got ]
}
got() {		# got SECONDS: it comes that soon, and is given back
	i=0
	until [ -s /tmp/got ]; do
		[ $i -lt $(($1 * 20)) ] || return 1
		i=$((i + 1))
		usleep 50000
	done
	wait $waiter
}
give_up() { kill $waiter; wait $waiter 2>/dev/null; [ ! -s /tmp/got ]; }
