# SPDX-License-Identifier: Apache-2.0
# Runs inside the guest, on a mount by NFSv4: what NFSv3 doesn't have.  Clones, holes and copies
# are there since 4.2.
N=0
BAD=0
case $NFS_VERS in 4.2) CLONES=yes ;; *) CLONES=no ;; esac
W=/mnt/ranges.$$
mkdir $W && cd $W || exit 1

t() {
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
says() { want=$1; shift; got=$("$@"); [ "$got" = "$want" ] || { echo "'$got' is not '$want'"; return 1; }; }

prepare() { dd if=/dev/urandom of=/tmp/a bs=4096 count=2000 2>/dev/null && echo tail >>/tmp/a && cp /tmp/a a && sync; }
clone() { rangetool clone a b && drop && cmp /tmp/a b; }
clone_dirty() {	# what the client has not written yet is in the clone
	echo "dirty" | dd of=a bs=1 seek=5000 conv=notrunc 2>/dev/null
	rangetool clone a c && cp a /tmp/a && drop && cmp /tmp/a c
}
clone_apart() { echo XX | dd of=c bs=1 seek=9000 conv=notrunc 2>/dev/null; sync; drop; cmp /tmp/a a && ! cmp -s a c; }
clone_over() { echo longer than nothing >d && rangetool clone a d && drop && cmp a d; }
clone_range() {
	rangetool clonerange a 8192 40960 e 4096 && drop || return 1
	dd if=a of=/tmp/x bs=4096 skip=2 count=10 2>/dev/null
	dd if=e of=/tmp/y bs=4096 skip=1 count=10 2>/dev/null
	cmp /tmp/x /tmp/y && [ "$(stat -c %s e)" = 45056 ]
}
clone_crooked() { says "clonerange: EINVAL" rangetool clonerange a 100 4096 e 0; }
copy_range() { says 4000 rangetool copy a 100 4000 g 50 && drop && dd if=a bs=1 skip=100 count=4000 of=/tmp/x 2>/dev/null &&
	dd if=g bs=1 skip=50 count=4000 of=/tmp/y 2>/dev/null && cmp /tmp/x /tmp/y; }
# More than the server copies while its client waits: it goes on by itself, and calls back.
copy_large() {
	truncate -s 100M big && echo begin | dd of=big conv=notrunc 2>/dev/null &&
		echo end | dd of=big bs=1 seek=104857596 conv=notrunc 2>/dev/null && sync || return 1
	says 104857600 rangetool copy big 0 104857600 g2 7 && drop &&
		says begin dd if=g2 bs=1 skip=7 count=5 2>/dev/null &&
		says end dd if=g2 bs=1 skip=104857603 count=3 2>/dev/null && rm big g2
}
copy_to_other_volume() {
	mkdir -p /tmp/root && mount-nfs $NFS_VERS '' /tmp/root / && cd /tmp/root || return 1
	size=$(stat -c %s vms/${W##*/}/a)
	says $size rangetool copy vms/${W##*/}/a 0 $size more/copy.$$ 0 && drop &&
		cmp vms/${W##*/}/a more/copy.$$ && rm more/copy.$$
	code=$?
	cd $W && umount /tmp/root/vms /tmp/root/more && umount /tmp/root && return $code
}
allocate() {
	rangetool allocate l 0 100000 && says 100000 stat -c %s l && rangetool allocate l 0 5000 &&
		says 100000 stat -c %s l && says "fallocate: ENOSPC" rangetool allocate l 0 1000000000000
}
xattrs() {
	mkdir -p xd && echo >xf || return 1
	for f in xf xd; do
		rangetool setx $f user.one 1 && rangetool createx $f user.two "$(seq 2000)" && drop &&
			says 1 rangetool getx $f user.one && says "$(seq 2000)" rangetool getx $f user.two &&
			says "setxattr: EEXIST" rangetool createx $f user.one x &&
			rangetool replacex $f user.one longer && drop && says longer rangetool getx $f user.one &&
			says "setxattr: ENODATA" rangetool replacex $f user.three x &&
			says "user.one user.two" sh -c "rangetool listx $f | sort | xargs" &&
			rangetool removex $f user.two && says "getxattr: ENODATA" rangetool getx $f user.two &&
			says "removexattr: ENODATA" rangetool removex $f user.two && drop &&
			says user.one rangetool listx $f || return 1
	done
}
holes() {
	truncate -s 1M h && printf x | dd of=h bs=1 seek=500000 conv=notrunc 2>/dev/null && sync && drop
	says 499712 rangetool data h 0 && says 0 rangetool hole h 0 && says 503808 rangetool hole h 499712 &&
		says "data: ENXIO" rangetool data h 600000 && says 600000 rangetool hole h 600000
}
punch() {
	before=$(stat -c %s b) && rangetool punch b 4096 1048576 && drop && [ "$(stat -c %s b)" = $before ] || return 1
	[ "$(dd if=b bs=4096 skip=1 count=256 2>/dev/null | tr -d '\0' | wc -c)" = 0 ] || return 1
	says 1052672 rangetool data b 4096
}
locked() { rangetool lock a w 0 100 true; }
lock_conflict() { rangetool lock a w 0 100 sh -c 'rangetool lock a r 50 10 true; [ $? = 1 ]'; }
lock_apart() { rangetool lock a w 0 100 rangetool lock a w 100 10 true; }
lock_shared() { rangetool lock a r 0 100 rangetool lock a r 50 100 true; }
lock_again() { rangetool lock a w 0 0 true; }
flocks() { rangetool flock a w sh -c 'rangetool flock a r true; [ $? = 1 ]' && rangetool flock a w true; }
unlinked() {
	echo here >u; exec 3<>u; rm u || return 1
	echo more >&3; [ ! -e u ] && exec 3>&-
}
volumes() {
	mkdir -p /tmp/root && mount-nfs $NFS_VERS '' /tmp/root / && ls /tmp/root | grep -qx vms &&
		cmp a /tmp/root/vms/${W##*/}/a && umount /tmp/root/vms
	code=$?
	umount /tmp/root && return $code
}
cleanup() { cd /mnt && rm -r $W; }

t "a file" prepare
if [ $CLONES = yes ]; then
	t "FICLONE" clone
	t "FICLONE of what is still in the client's memory" clone_dirty
	t "a clone is another file" clone_apart
	t "FICLONE over a file" clone_over
	t "FICLONERANGE" clone_range
	t "FICLONERANGE that is not aligned" clone_crooked
	t "copy_file_range" copy_range
	t "SEEK_DATA and SEEK_HOLE" holes
	t "a hole is punched" punch
	t "copy_file_range of what takes long" copy_large
	t "copy_file_range to another volume" copy_to_other_volume
	t "fallocate" allocate
	t "extended attributes" xattrs
fi
t "a lock" locked
t "a lock in the way" lock_conflict
t "locks beside each other" lock_apart
t "shared locks" lock_shared
t "a lock that was given back" lock_again
t "flock" flocks
t "an open file is removed" unlinked
t "the pseudo root lists the volume" volumes
t "remove all of it" cleanup
echo "1..$N"
[ $BAD = 0 ]
