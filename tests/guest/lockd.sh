# SPDX-License-Identifier: Apache-2.0
# For a guest's shell: what a client of NFSv3 runs to have locks, as Debian has it.
lockd_files() {		# SERVER: what programs look for
	mkdir -p /run/rpcbind /var/lib/nfs/sm /var/lib/nfs/sm.bak
	[ -e /var/run ] || ln -s /run /var/run
	echo '_rpc:x:100:0::/run/rpcbind:/bin/false' >>/etc/passwd
	printf '%s\n' 'udp tpi_clts v inet udp - -' 'tcp tpi_cots_ord v inet tcp - -' \
		'local tpi_cots_ord - loopback - - -' >/etc/netconfig
	printf '%s\n' '127.0.0.1 localhost' "$GUEST_IP $(hostname)" "$1 server" >/etc/hosts
	printf '%s\n' 'sunrpc 111/tcp portmapper' 'sunrpc 111/udp portmapper' >/etc/services
	printf '%s: files\n' passwd hosts services protocols rpc >/etc/nsswitch.conf
	printf '%s\n' 'udp 17 UDP' 'tcp 6 TCP' >/etc/protocols
}

lockd_start() {
	lockd_files 10.0.2.2
	rpcbind && rpc.statd --no-notify
}

# What a machine with a disk would have after a reboot, as text.
lockd_left() { cd /var/lib/nfs && tar -cf - sm state | base64; cd /; }

# TEXT: and then it tells whoever it had locks of.
lockd_rebooted() {
	echo "$1" | base64 -d | tar -xf - -C /var/lib/nfs && sm-notify -f
}
