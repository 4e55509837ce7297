#!/bin/sh
# Written by packer-plugin-k3s: takes what the build of this image still needed out
# of it, when the machine that built it is shut down or, where it was switched off,
# at the first boot of a node; makes SSH host keys at that boot, and removes itself.
here=/etc/k3s-cis-seal
PATH=${PATH:-/bin}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export PATH
umask 077

# gone PATH… removes what is there. A link is removed itself; one that stands for the
# directory that something is in is not followed.
gone() {
	for at; do
		if { [ -e "$at" ] || [ -L "$at" ]; } && ! [ -L "${at%/*}" ]; then
			rm -rf -- "$at" || failed=1
		fi
	done
}

# gone_file PATH… removes files, and lets links stay.
gone_file() {
	for at; do
		[ -L "$at" ] || gone "$at"
	done
}

# renewed PATH… empties files that a boot fills with something new.
renewed() {
	[ "$when" = stop ] || return 0
	for at; do
		[ ! -s "$at" ] || : >"$at" || failed=1
	done
}

# lock FILE… takes the passwords out of files as of shadow(5).
lock() {
	for at; do
		if [ -f "$at" ] && ! [ -L "$at" ]; then
			{
				cp -p "$at" "$at.k3s-cis" && sed -e 's/^\([^:#][^:]*\):\$[^:]*:/\1:!:/' -e 's/^\([^:#][^:]*\)::/\1:!:/' \
					-e 's/^\([^:#][^:]*\):[^:!*]\{13\}:/\1:!:/' "$at" >"$at.k3s-cis" && mv "$at.k3s-cis" "$at"
			} || failed=1
			command -v restorecon >/dev/null 2>&1 && restorecon "$at" >/dev/null 2>&1
		fi
	done
	return 0
}

# clear DIRECTORY EXCEPT… empties logs, and removes those that were rotated.
clear() {
	logs=$1
	[ -d "$logs" ] || return 0
	for at; do
		set -- "$@" -o -path "$at"
		shift
	done
	shift 3
	find "$logs" -xdev \( -path '' "$@" \) -prune -o -type f \( -name '*.gz' -o -name '*.xz' -o -name '*.bz2' -o -name '*.zst' -o -name '*.old' \
		-o -name '*.[0-9]' -o -name '*.[0-9][0-9]' -o -name '*-20[0-9][0-9][0-9][0-9][0-9][0-9]' \) -exec rm -f -- {} + || failed=1
	find "$logs" -xdev \( -path '' "$@" \) -prune -o -type f -size +0c -exec sh -c 'for at; do : >"$at" || exit 1; done' sh {} + || failed=1
}

take_out() {
	[ -f "$here/remove" ] || return 0
	# What is said from here on stays in memory.
	[ "$when" = start ] || journalctl --relinquish-var >/dev/null 2>&1
	failed=
	# shellcheck source=/dev/null
	. "$here/remove"
	[ -z "$failed" ] || return 1
	rm -f "$here/remove"
	sync
}

# host_keys makes those that are missing.
host_keys() {
	[ -e "$here/host-keys" ] || return 0
	command -v ssh-keygen >/dev/null 2>&1 && ssh-keygen -A >/dev/null 2>&1 || return 0
	command -v restorecon >/dev/null 2>&1 && restorecon /etc/ssh/ssh_host_* >/dev/null 2>&1
	return 0
}

shutting_down() {
	[ "${RC_RUNLEVEL-}" = shutdown ] || [ "${RC_RUNLEVEL-}" = reboot ] || [ "$(systemctl is-system-running 2>/dev/null)" = stopping ]
}

when=${1-}
case $when in
start)
	# The machine that builds has this mark as long as it runs.
	[ ! -e /run/k3s-cis-seal ] || exit 0
	take_out || echo "k3s-cis-seal: not all of the build could be taken out" >&2
	host_keys
	rm -f /etc/systemd/system/k3s-cis-seal.service /etc/systemd/system/sysinit.target.d/k3s-cis-seal.conf \
		/etc/init.d/k3s-cis-seal /etc/runlevels/boot/k3s-cis-seal
	rmdir /etc/systemd/system/sysinit.target.d 2>/dev/null
	rm -rf "$here"
	;;
stop)
	shutting_down || exit 0
	take_out
	;;
*)
	echo "usage: $0 start|stop" >&2
	exit 2
	;;
esac
