# send.sh: functions of the worker that send the answer.
# shellcheck shell=sh disable=SC2034,SC2154,SC3013

# stream STATUS sends everything, or the report alone where that has got longer
# since, and removes the staging directories meanwhile.
stream() {
	text=answer
	if ! [ "$lines" ]; then
		text=report
		lines=$(grep -c '' report)
	fi
	send=plain
	command -v tar >/dev/null 2>&1 && send=archives && gnu tar && send=gnu_archive
	[ "$durable" = no ] || [ "${qdisks+found}" ] || find_disks
	exec 7<"$text" 8<list 2>/dev/null
	cd / || exit 1
	if [ -t 1 ]; then
		if command -v base64 >/dev/null 2>&1; then
			printf 'k3s-cis %s begin base64\n' "$nonce"
			answer "$1" | base64
		else
			printf 'k3s-cis %s begin hex\n' "$nonce"
			answer "$1" | od -An -v -tx1
		fi
		printf 'k3s-cis %s coded\n' "$nonce"
	else
		printf 'k3s-cis %s begin raw\n' "$nonce"
		answer "$1"
	fi
	# The whole of answer may have been killed.
	[ "$keep" ] || ! [ -d "$work" ] || clear_away
}

# clear_away removes the staging directories, so that after a power cut they are
# gone too. The old files must not be gone while the disk has "armed".
clear_away() {
	rm -f "$work/armed" && { [ -z "$drop" ] || force; } && eval "rm -rf $drop \"\$work\"" && force
} 2>/dev/null

answer() {
	status=$1 removing=
	[ "$keep" ] || {
		clear_away &
		removing=$!
	}
	cat <&7
	if [ "$1" != ok ] || [ "$count" = 0 ]; then
		printf 'k3s-cis %s content none\n' "$nonce"
		code=0 count=0
	elif [ "$send" = plain ]; then
		printf 'k3s-cis %s content plain\n' "$nonce"
		plain <&8
		code=0
	else
		printf 'k3s-cis %s content tar\n' "$nonce"
		"$send" <&8
		code=$?
	fi
	# The second time is for a first one that was killed.
	[ -z "$removing" ] || wait "$removing" || clear_away || status=unsynced
	printf 'k3s-cis %s end %s %s %s %s\n' "$nonce" "$lines" "$count" "$code" "$status"
}

# gnu_archive sends files with a tar that would take a backslash in a listed
# name for an escape.
gnu_archive() { tar -chf - -C / --no-unquote --hard-dereference -T - 2>/dev/null; }

# archives sends files with a tar that cannot read their names from a list, in
# one archive after another.
archives() {
	qnames='' some=0 worst=0
	while IFS= read -r line; do
		quote "$line"
		qnames="$qnames $quoted" some=$((some + 1))
		[ "$some" = 200 ] && archive_some
	done
	[ "$some" = 0 ] || archive_some
	return "$worst"
}

archive_some() {
	eval "tar -chf - -C / $qnames" </dev/null 2>/dev/null || worst=$?
	qnames='' some=0
}

# plain sends files where there is no tar: length and path, then the bytes.
plain() {
	while IFS= read -r line; do
		path=${line#.}
		printf 'f %s %s\n' "$(stat -L -c %s "$path")" "$path"
		cat "$path"
		printf '\n'
	done
}
