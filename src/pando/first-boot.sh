#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Who this machine is, by the seed that its fleet gave it: "pando golden import --first-boot" put this into a
# system without cloud-init.  It runs at each boot, before the network is brought up, and does something only
# where the seed is another than it was the last time: so at a machine's first boot, and after a refresh.
#
#	first-boot		in the machine
#	first-boot ROOT CONF	to the system in ROOT, by the seed's file CONF; nothing that runs is told
#
# systemd has made the machine-id before, of the machine's UUID: the image has none.
set -u
PATH=/usr/sbin:/usr/bin:/sbin:/bin
export PATH
umask 022
root=${1-}
conf=${2-}
taken=

say() { echo "pando: $*"; }

# A disk with the label CIDATA, in FAT or ISO 9660, which has a file pando.conf.
seed_take() {
	at=$(mktemp -d /run/pando.XXXXXX) || return 1
	conf=$at.conf
	for disk in $(blkid -o device -t LABEL=CIDATA) $(blkid -o device -t LABEL=cidata); do
		mount -o ro "$disk" "$at" || continue
		[ -e "$at/pando.conf" ] && cat "$at/pando.conf" > "$conf" && taken=yes
		umount "$at"
		[ -z "$taken" ] || break
	done
	rmdir "$at"
	[ "$taken" ]
}

# Disks may come late.
seed_find() {
	tries=0
	until seed_take; do
		tries=$((tries + 1))
		[ $tries -lt 10 ] || return 1
		sleep 1
	done
}

conf_read() {
	NAME='' UUID='' MAC='' ADDRESS='' GATEWAY='' DNS=''
	while IFS="=" read -r key value; do
		case $key in
		NAME) NAME=$value ;;
		UUID) UUID=$value ;;
		MAC) MAC=$value ;;
		ADDRESS) ADDRESS=$value ;;
		GATEWAY) GATEWAY=$value ;;
		DNS) DNS=$value ;;
		esac
	done < "$conf"
	[ "$NAME" ] && [ "$UUID" ]
}

# put FILE MODE: what comes from stdin; whole, or as it was.
put() {
	mkdir -p "$root${1%/*}" && cat > "$root$1.pando" && chmod "$2" "$root$1.pando" && mv -f "$root$1.pando" "$root$1"
}

# A power cut must not leave "done", and keys without a byte.
durable() { [ "$root" ] || sync; }

# ---- name and keys --------------------------------------------------------------------------

name_set() {
	echo "$NAME" | put /etc/hostname 0644 || return
	{
		[ ! -e "$root/etc/hosts" ] || grep -v '^127\.0\.1\.1[[:space:]]' "$root/etc/hosts"
		echo "127.0.1.1 $NAME"
	} | put /etc/hosts 0644 || return
	[ "$root" ] || echo "$NAME" > /proc/sys/kernel/hostname
}

keys_make() {
	command -v ssh-keygen > /dev/null && [ -d "$root/etc/ssh" ] || return 0
	rm -f "$root"/etc/ssh/ssh_host_*
	if [ "$root" ]; then
		ssh-keygen -q -A -f "$root"
	else
		ssh-keygen -q -A
	fi
}

# ---- the address ----------------------------------------------------------------------------

# Its driver may still be loading, or its name be about to change.
interface_of() {
	[ "$root" ] || udevadm settle --timeout=60
	for n in "$root"/sys/class/net/*; do
		[ -e "$n/address" ] && [ "$(cat "$n/address")" = "$MAC" ] && echo "${n##*/}" && return
	done
}

by_network_manager() {
	v4='method=disabled' v6='method=disabled'
	rest="address1=$ADDRESS${GATEWAY:+,$GATEWAY}${DNS:+
dns=$(echo "$DNS" | tr ',' ';');}"
	case $ADDRESS in
	*:*) v6="method=manual
$rest" ;;
	*) v4="method=manual
$rest" v6='method=auto' ;;
	esac
	put /etc/NetworkManager/system-connections/pando.nmconnection 0600 <<-END
		[connection]
		id=pando
		uuid=$UUID
		type=ethernet
		autoconnect-priority=100

		[ethernet]
		mac-address=$MAC

		[ipv4]
		$v4

		[ipv6]
		$v6
	END
}

by_networkd() {
	put /etc/systemd/network/05-pando.network 0644 <<-END
		[Match]
		MACAddress=$MAC

		[Network]
		Address=$ADDRESS
		${GATEWAY:+Gateway=$GATEWAY}
		${DNS:+DNS=$(echo "$DNS" | tr ',' ' ')}
	END
	[ "$root" ] || systemctl is-enabled -q systemd-networkd ||
		systemctl --no-block enable --now systemd-networkd
}

# What the image has says for which interface it was installed, and that may be this one.  udev may have asked for it
# already: without allow-hotplug, that would fail.
by_ifupdown() {
	family=inet
	case $ADDRESS in *:*) family=inet6 ;; esac
	[ -e "$root/etc/network/interfaces.before-pando" ] || [ ! -e "$root/etc/network/interfaces" ] ||
		cp -p "$root/etc/network/interfaces" "$root/etc/network/interfaces.before-pando"
	put /etc/network/interfaces 0644 <<-END
		auto lo
		iface lo inet loopback

		auto $interface
		allow-hotplug $interface
		iface $interface $family static
		    address $ADDRESS
		    ${GATEWAY:+gateway $GATEWAY}
		    ${DNS:+dns-nameservers $(echo "$DNS" | tr ',' ' ')}
	END
}

# For networkd and ifupdown, unless a program of its own looks after that file.
dns_set() {
	[ "$DNS" ] && [ ! -L "$root/etc/resolv.conf" ] && [ ! -e "$root/sbin/resolvconf" ] || return 0
	echo "$DNS" | tr ',' '\n' | sed 's/^/nameserver /' | put /etc/resolv.conf 0644
}

enabled() { ls "$root"/etc/systemd/system/*.wants/"$1" > /dev/null 2>&1; }

# Without an address, the network is what it is in the image.  LATER: without its interface, there is nothing to do yet.
LATER=2
address_set() {
	[ "$ADDRESS" ] || return 0
	interface=$(interface_of)
	if [ -z "$interface" ]; then
		say "no interface has the MAC $MAC: its address $ADDRESS is set nowhere yet"
		return $LATER
	elif enabled NetworkManager.service; then
		by_network_manager
	elif enabled systemd-networkd.service; then
		by_networkd && dns_set
	elif [ -x "$root/sbin/ifup" ] || [ -x "$root/usr/sbin/ifup" ]; then
		by_ifupdown && dns_set
	elif [ -x "$root/lib/systemd/systemd-networkd" ] || [ -x "$root/usr/lib/systemd/systemd-networkd" ]; then
		by_networkd && dns_set
	else
		say "has neither NetworkManager, systemd-networkd nor ifupdown: its address $ADDRESS is set nowhere"
	fi
}

# The machine that the keys are of, in the first line; and with the rest, what its address was set by.
identity_make() {
	[ "$(head -n 1 "$root/etc/pando/done" 2> /dev/null)" = "$UUID $NAME" ] ||
		{ name_set && keys_make && durable && echo "$UUID $NAME" | put /etc/pando/done 0644; }
}

# ---- all of it ------------------------------------------------------------------------------

if [ -z "$root" ] && ! seed_find; then
	say "there is no seed: nothing is changed"
	exit 0
fi
if ! conf_read; then
	say "the seed's pando.conf has no NAME or no UUID: nothing is changed"
	ended=1
elif [ "$(cat "$root/etc/pando/done" 2> /dev/null)" = "$UUID $NAME
$(cat "$conf")" ]; then
	ended=0
else
	identity_make && address_set && durable && { echo "$UUID $NAME"; cat "$conf"; } | put /etc/pando/done 0644 &&
		say "this is $NAME${ADDRESS:+, $ADDRESS}"
	ended=$?
	[ $ended != $LATER ] || ended=0
fi
[ -z "$taken" ] || rm -f "$conf"
exit $ended
