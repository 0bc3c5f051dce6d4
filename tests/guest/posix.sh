# SPDX-License-Identifier: Apache-2.0
# Runs inside the guest: real file system operations on /mnt, by the Linux kernel's NFS client.
# Everything is checked after drop_caches where the client's cache could hide the server.
N=0
BAD=0
FILES=${FILES:-2000}
W=/mnt/posix.$$
mkdir $W || exit 1
cd $W

t() {	# t NAME COMMAND...: passes when the command succeeds
	N=$((N + 1))
	name=$1
	shift
	if out=$("$@" 2>&1); then
		echo "ok $N - $name"
	else
		echo "not ok $N - $name"
		echo "$out" | sed 's/^/# /' | head -20
		BAD=$((BAD + 1))
	fi
}
drop() { echo 3 >/proc/sys/vm/drop_caches; }
as() { u=$1; shift; su -s /bin/sh -c "cd $W && $*" "$u"; }
fails() { ! "$@"; }

create_and_read() {
	echo "hello, pando" >a && drop && [ "$(cat a)" = "hello, pando" ]
}
big_file() {
	dd if=/dev/urandom of=/tmp/big bs=1M count=24 2>/dev/null
	cp /tmp/big big && sync && drop && cmp /tmp/big big && [ "$(stat -c %s big)" = 25165824 ]
}
rewrite_inside() {	# 100 writes of odd sizes at odd places, here and in a local copy
	i=0
	while [ $i -lt 100 ]; do
		off=$((i * 250007 % 25000000))
		len=$((i * 7919 % 20000 + 1))
		dd if=/dev/urandom of=/tmp/piece bs=$len count=1 2>/dev/null
		for f in /tmp/big big; do
			dd if=/tmp/piece of=$f bs=65536 seek=$off oflag=seek_bytes conv=notrunc 2>/dev/null || return 1
		done
		i=$((i + 1))
	done
	sync; drop; cmp /tmp/big big
}
direct_io() {
	dd if=/tmp/big of=direct bs=1M count=4 oflag=direct 2>/dev/null || return 1
	dd if=direct of=/tmp/direct bs=64K iflag=direct 2>/dev/null || return 1
	head -c 4194304 /tmp/big | cmp - /tmp/direct
}
sparse() {
	truncate -s 5G sparse && [ "$(stat -c %s sparse)" = 5368709120 ] || return 1
	echo end | dd of=sparse bs=1 seek=5368709000 conv=notrunc 2>/dev/null
	drop
	[ "$(dd if=sparse bs=1M skip=2000 count=1 2>/dev/null | tr -d '\0' | wc -c)" = 0 ] || return 1
	[ "$(dd if=sparse bs=1 skip=5368709000 count=3 2>/dev/null)" = end ] || return 1
	[ "$(du -k sparse | cut -f1)" -lt 1024 ]
}
truncate_down_up() {	# what was cut off must be zeros when it comes back
	cp /tmp/big t && truncate -s 10001 t && truncate -s 30000 t && drop || return 1
	head -c 10001 /tmp/big >/tmp/t && head -c 19999 /dev/zero >>/tmp/t && cmp /tmp/t t
}
append() {
	for i in 1 2 3 4 5; do echo "line $i" >>log || return 1; done
	drop; [ "$(wc -l <log)" = 5 ] && [ "$(tail -1 log)" = "line 5" ]
}
rename_over_open() {	# the old file stays readable for who has it open
	echo old >r1; echo new >r2
	exec 3<r1
	mv r2 r1 || return 1
	[ "$(cat <&3)" = old ] || return 1
	exec 3<&-
	drop; [ "$(cat r1)" = new ] && [ ! -e r2 ]
}
unlink_open() {
	echo here >u; exec 3<u; rm u || return 1
	[ ! -e u ] && [ "$(cat <&3)" = here ] || return 1
	exec 3<&-
	sync; [ -z "$(ls -A | grep nfs0)" ]	# the client's silly rename is gone too
}
rename_dir() {
	mkdir -p d1/sub d2 && echo x >d1/sub/f && mv d1 d2/ && drop && [ "$(cat d2/d1/sub/f)" = x ] || return 1
	mkdir d3 && mv d2/d1 d3/ && [ "$(cat d3/d1/sub/f)" = x ] && [ "$(stat -c %h d2)" = 2 ]
}
rename_into_itself() { mkdir -p s/t; fails mv s s/t/; }
hard_links() {
	echo one >h1 && ln h1 h2 && [ "$(stat -c %h h1)" = 2 ] && [ h1 -ef h2 ] || return 1
	echo two >>h2; drop; [ "$(wc -l <h1)" = 2 ] && rm h1 && drop && [ "$(stat -c %h h2)" = 1 ] &&
		[ "$(head -1 h2)" = one ]
}
symlinks() {
	ln -s a l1 && ln -s nowhere l2 && drop && [ "$(readlink l1)" = a ] && [ "$(cat l1)" = "hello, pando" ] &&
		[ -L l2 ] && fails cat l2
}
fifo_and_device() {
	mkfifo p && [ -p p ] && mknod n c 1 3 && [ -c n ] && drop && [ "$(stat -c %t,%T n)" = 1,3 ]
}
not_empty() { mkdir ne && touch ne/f && fails rmdir ne && rm ne/f && rmdir ne; }
exists() { mkdir ex; fails mkdir ex; }
exclusive() {	# O_EXCL: one of ten wins
	won=0
	for i in 1 2 3 4 5 6 7 8 9 10; do
		sh -c 'set -C; echo x >excl' 2>/dev/null && won=$((won + 1))
	done
	[ $won = 1 ]
}
long_names() {
	n=$(head -c 255 /dev/zero | tr '\0' n)
	touch "$n" && drop && [ -e "$n" ] && fails touch "${n}n"
}
odd_names() {
	for n in 'a b' '-dash' 'ünïcödé' '"quote"' "it's" 'new
line' '...' ' '; do echo "$n" >"./odd$n" || return 1; done
	drop
	for n in 'a b' '-dash' 'ünïcödé' '"quote"' "it's" 'new
line' '...' ' '; do [ "$(cat "./odd$n")" = "$n" ] || return 1; done
}
many_create() {
	mkdir many
	i=0
	while [ $i -lt $FILES ]; do : >many/file$i || return 1; i=$((i + 1)); done
}
many_list() { drop; [ "$(ls many | wc -l)" = $FILES ] && [ "$(ls many | sort -u | wc -l)" = $FILES ]; }
many_list_long() { drop; [ "$(ls -l many | grep -c '^-')" = $FILES ]; }
many_remove_while_reading() {	# half of them, names from a listing; the rest must stay
	ls many | grep '[02468]$' | (cd many && xargs rm) || return 1
	drop
	[ "$(ls many | grep -c '[02468]$')" = 0 ] && [ "$(ls many | wc -l)" = $((FILES / 2)) ]
}
many_gone() { rm -r many && [ ! -e many ]; }
modes() {
	touch m && chmod 640 m && [ "$(stat -c %a m)" = 640 ] && chmod 4755 m && drop && [ "$(stat -c %a m)" = 4755 ]
}
owners() { touch o && chown 1000:2000 o && drop && [ "$(stat -c %u:%g o)" = 1000:2000 ]; }
utimes() {
	touch -d '2001-02-03 04:05:06' tm && drop && [ "$(stat -c %Y tm)" = 981173106 ] || return 1
	before=$(stat -c %Z tm); sleep 1; echo x >>tm; sync; drop
	[ "$(stat -c %Y tm)" -gt 981173106 ] && [ "$(stat -c %Z tm)" -gt $before ]
}
others_denied() {
	echo secret >sec && chmod 600 sec && drop && fails as alice cat sec && fails as alice 'echo x >>sec'
}
others_dir_denied() { mkdir -m 755 rootdir && fails as alice touch rootdir/f; }
owner_allowed() {
	mkdir -m 777 open && as alice 'echo mine >open/f' && [ "$(stat -c %U open/f)" = alice ] &&
		drop && [ "$(as alice cat open/f)" = mine ]
}
supplementary_group() {	# alice and bob are in team by their supplementary groups only
	echo team >g && chown 0:2000 g && chmod 660 g && drop && [ "$(as bob cat g)" = team ] &&
		as alice 'echo more >>g'
}
sticky() {
	mkdir -m 1777 tmpd && as alice touch tmpd/hers && fails as bob rm -f tmpd/hers && as alice rm tmpd/hers
}
not_owner() { touch root_s && fails as alice chmod 777 root_s && fails as alice touch -d 2001-01-01 root_s; }
search_denied() { mkdir -m 700 priv && echo x >priv/f && chmod 644 priv/f && drop && fails as alice cat priv/f; }
two_writers() {	# two processes append 200 records each to own files while a third lists
	(i=0; while [ $i -lt 200 ]; do echo "w1 $i"; i=$((i + 1)); done >w1; sync) &
	(i=0; while [ $i -lt 200 ]; do echo "w2 $i"; i=$((i + 1)); done >w2; sync) &
	ls -l >/dev/null
	wait
	drop; [ "$(wc -l <w1)" = 200 ] && [ "$(wc -l <w2)" = 200 ] && [ "$(grep -c w1 w2)" = 0 ]
}
mode_of() { [ "$(stat -c %a "$1")" = "$2" ]; }
suid_cleared() {	# by a write, a truncate and a chown, not by its owner's chmod
	echo x >sx && chmod 6777 sx && mode_of sx 6777 && as alice 'echo y >>sx' && drop && mode_of sx 777 || return 1
	chmod 4755 sx && chown 1000:1000 sx && drop && mode_of sx 755 || return 1
	mkdir -m 2775 sd && chgrp 2000 sd && drop && mode_of sd 2775
}
setgid_directory() {	# gives its group, and its bit to directories, but no setgid programs
	mkdir gd && chgrp 1000 gd && chmod 2777 gd && as bob 'umask 022; touch gd/f; mkdir gd/d' || return 1
	drop; [ "$(stat -c %g,%a gd/f)" = 1000,644 ] && [ "$(stat -c %g,%a gd/d)" = 1000,2755 ] || return 1
	as bob 'chmod 2755 gd/f'; drop; mode_of gd/f 755 || return 1
	as alice 'touch gd/h; chmod 2755 gd/h'; drop; mode_of gd/h 2755
}
own_readonly() {	# an open descriptor goes on; opening anew, and others, don't
	as alice 'exec 3>open/ro; chmod 400 open/ro; echo one >&3; echo two >&3' || return 1
	drop; [ "$(cat open/ro)" = "one
two" ] && fails as alice 'echo x >>open/ro' && fails as bob cat open/ro && fails as bob 'truncate -s 0 open/ro'
}
rename_links() {	# two names of one file: nothing happens; over one of two: the other stays
	echo 1 >k1 && ln k1 k2 && ln k1 k3 && echo 2 >k4 && mv k4 k2 && drop || return 1
	[ "$(cat k1)$(cat k2)$(cat k3)" = 121 ] && [ "$(stat -c %h k1)" = 2 ] && [ ! -e k4 ]
}
rename_kinds() {
	mkdir rk1 rk2 && touch rk1/f rkf || return 1
	fails mv -T rkf rk2 && fails mv -T rk2 rkf && fails mv -T rk2 rk1 && mv -T rk1 rk2 && [ -e rk2/f ] && [ ! -e rk1 ]
}
not_a_directory() { fails touch a/x && fails mkdir a/x && fails cat a/x && fails rm a/x && fails rmdir a; }
directory_links() {
	mkdir -p dl/1 dl/2 && touch dl/f && drop && [ "$(stat -c %h dl)" = 4 ] && rmdir dl/1 && mv dl/2 . &&
		drop && [ "$(stat -c %h dl)" = 2 ] && rmdir 2
}
directory_times() {	# names change their directories' times, data doesn't
	mkdir dt && touch dt/f && touch -d 2001-01-01 dt && echo x >dt/f && sync && drop || return 1
	[ "$(stat -c %Y dt)" -lt 1000000000 ] && mv dt/f dt/g && drop && [ "$(stat -c %Y dt)" -gt 1000000000 ] || return 1
	touch -d 2001-01-01 dt/g && mv dt/g dt/h && drop && [ "$(stat -c %Y dt/h)" -lt 1000000000 ] &&
		[ "$(stat -c %Z dt/h)" -gt 1000000000 ]
}
far_away() {	# beyond 16 TiB
	echo far | dd of=far bs=1 seek=20000000000000 2>/dev/null && drop && [ "$(stat -c %s far)" = 20000000000004 ] &&
		[ "$(dd if=far bs=1 skip=20000000000000 2>/dev/null)" = far ] && truncate -s 5 far &&
		[ "$(tr -d '\0' <far | wc -c)" = 0 ]
}
long_symlink() {
	l=$(head -c 1000 /dev/zero | tr '\0' l)
	ln -s "$l" ls1 && drop && [ "$(readlink ls1)" = "$l" ] && [ "$(stat -c %s ls1)" = 1000 ]
}
list_while_changing() {	# names that stay are listed once, whatever comes and goes
	mkdir lw && for i in $(seq 600); do : >lw/stay$i; : >lw/go$i; done
	(rm lw/go*; for i in $(seq 300); do : >lw/come$i; done) &
	for i in 1 2 3 4 5; do
		drop
		[ "$(ls lw | grep -c stay)" = 600 ] && [ "$(ls lw | grep stay | sort -u | wc -l)" = 600 ] || return 1
	done
	wait
	[ "$(ls lw | wc -l)" = 900 ]
}
deep() {
	p=.
	for i in $(seq 40); do p=$p/d$i; done
	mkdir -p $p && echo bottom >$p/f && drop && [ "$(cat $p/f)" = bottom ] && rm -r d1
}
tree_copy() {	# tar out, tar in, compare
	mkdir -p src/x/y && cp -r /modules src/x/ && ln -s x src/link &&
		tar -cf - src | (mkdir dst && cd dst && tar -xf -) && drop && diff -r src dst/src
}
space() {
	set -- $(df -k /mnt | tail -1)
	[ "$2" -gt 0 ] && [ "$4" -gt 0 ] && [ "$4" -le "$2" ]
}
space_comes_back() {	# background freeing included
	sync; rm -f big direct t sparse
	[ ! -e big ]
}
bytes_used() { head -c 1000000 /dev/urandom >bu; sync; drop; k=$(du -k bu | cut -f1); [ "$k" -ge 976 ] && [ "$k" -le 1100 ]; }
stale_after_remove() { echo x >st; drop; rm st; fails cat st; }
cleanup() { cd /mnt && rm -r $W && [ ! -e $W ]; }

t "create and read back" create_and_read
t "24 MiB of random data" big_file
t "100 odd writes inside it" rewrite_inside
t "O_DIRECT writes and reads" direct_io
t "a sparse file of 5 GiB" sparse
t "truncate down and up leaves zeros" truncate_down_up
t "append" append
t "bytes used are told" bytes_used
t "rename over an open file" rename_over_open
t "unlink an open file" unlink_open
t "rename directories, link counts" rename_dir
t "rename into itself is refused" rename_into_itself
t "hard links" hard_links
t "symbolic links" symlinks
t "fifos and devices" fifo_and_device
t "rmdir of a directory that is not empty" not_empty
t "mkdir of what exists" exists
t "exclusive create" exclusive
t "names of 255 bytes, not of 256" long_names
t "odd names" odd_names
t "$FILES files: create" many_create
t "$FILES files: list" many_list
t "$FILES files: list with attributes" many_list_long
t "remove half of them" many_remove_while_reading
t "remove the rest with their directory" many_gone
t "modes" modes
t "owners" owners
t "times" utimes
t "others are denied" others_denied
t "others cannot create in a directory" others_dir_denied
t "the owner is allowed" owner_allowed
t "supplementary groups count" supplementary_group
t "the sticky bit" sticky
t "chmod and utimes by others are denied" not_owner
t "no search permission, no file" search_denied
t "setuid and setgid go when they must" suid_cleared
t "setgid directories" setgid_directory
t "one's own read-only file" own_readonly
t "rename over hard links" rename_links
t "rename over other kinds" rename_kinds
t "a file is not a directory" not_a_directory
t "link counts of directories" directory_links
t "times of directories" directory_times
t "data beyond 16 TiB" far_away
t "a long symbolic link" long_symlink
t "listing while names come and go" list_while_changing
t "two writers and a reader" two_writers
t "40 directories deep" deep
t "tar out, tar in, diff" tree_copy
t "df tells of space" space
t "large files vanish" space_comes_back
t "a removed file is gone" stale_after_remove
t "rm -r of everything" cleanup
echo "1..$N"
[ $BAD = 0 ]
