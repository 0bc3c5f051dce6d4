# SPDX-License-Identifier: Apache-2.0
# Runs inside the guest:
#
#	tree.sh unpack ARCHIVE DIR	DIR/tree
#	tree.sh list DIR		what make-tree lists
#	tree.sh remove DIR
#
# A server that is killed may have done what it could not answer any more; the client sends that
# again, and is told that the name exists, or doesn't.  So these try a few times.
tries() {
	for i in 1 2 3 4 5 6; do
		"$@" && return
		echo "# again: $*"
	done
	return 1
}
list() {
	cd "$1" || return 1
	find tree -mindepth 1 -type d -exec stat -c '%n directory %a' {} +
	find tree -type l -exec stat -c %N {} +
	find tree -type f -exec stat -c '%n %a %Y' {} +
	find tree -type f -exec sha1sum {} +
}
case $1 in
unpack)	mkdir -p "$3" && tries tar -xf "$2" -C "$3" && sync ;;
list)	list "$2" | sort ;;
remove)	tries rm -r "$2/tree" && [ ! -e "$2/tree" ] ;;
esac
