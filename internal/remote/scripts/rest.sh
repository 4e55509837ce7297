# rest.sh: functions of the worker that make sure that programs are at rest which must
# not run while the machine is changed, and that start services.
# shellcheck shell=sh disable=SC2034,SC2154,SC3013

# rest makes sure of it before anything is looked at.
rest() {
	[ "$rest_asked" = yes ] && machine || return 0
	running=$(find_running) || quit "what runs on the machine cannot be told"
	mounted=$(find_mounted) || quit "what is mounted on the machine cannot be told"
	[ -n "$running$mounted" ] || return 0
	if [ "$rest_stop" = no ]; then
		[ -z "$running" ] || quit "process ${running%%"$nl"*} is running: $rest_advice"
		quit "${mounted%%"$nl"*} is mounted: $rest_advice"
	fi
	rest_services stop_service
	# What ends may have started something meanwhile.
	turn=0
	while running=$(find_running) && [ -n "$running" ]; do
		[ "$turn" -lt 20 ] || quit "process ${running%%"$nl"*} does not end"
		turn=$((turn + 1))
		printf '%s\n' "$running" | while read -r pid _; do
			kill -KILL "$pid" 2>/dev/null
		done
		sleep 1
	done
	# What was mounted last is named last, and goes first.
	turn=0
	while mounted=$(find_mounted) && [ -n "$mounted" ]; do
		[ "$turn" -lt 1000 ] || quit "${mounted%%"$nl"*} cannot be unmounted"
		turn=$((turn + 1))
		at=${mounted%%"$nl"*}
		umount "$at" 2>/dev/null || umount -l "$at" 2>err || quit "$at cannot be unmounted: $(first_line err)"
	done
}

stop_service() {
	if [ -d /run/systemd/system ]; then
		systemctl stop "$1.service" >/dev/null 2>&1
	elif command -v rc-service >/dev/null 2>&1 && [ -e "/etc/init.d/$1" ]; then
		rc-service "$1" stop >/dev/null 2>&1
	fi
	return 0
}

# find_running prints "PID PROGRAM" of each process that runs one of the programs,
# and then of all that these started.
find_running() {
	find_awk
	ls -l /proc/[0-9]*/exe 2>/dev/null | while IFS= read -r line; do
		exe=${line#*/exe -> } pid=${line%%/exe -> *}
		exe=${exe% (deleted)}
		if rest_program "$exe"; then
			printf '%s %s\n' "${pid##*/}" "$exe"
		fi
	done >running
	[ -s running ] || return 0
	grep -H '^PPid:' /proc/[0-9]*/status 2>/dev/null | "$awk" '
		BEGIN { while ((getline line <"running") > 0) { print line; split(line, word, " "); ours[word[1]] } }
		{ split($1, part, "/"); parent[part[3]] = $2 }
		END {
			do {
				more = 0
				for (pid in parent) if (!(pid in ours) && parent[pid] in ours) { ours[pid]; more = 1; print pid, "which " parent[pid] " started" }
			} while (more)
		}'
}

# find_mounted prints where something is mounted that may not be, the last first.
find_mounted() {
	sed 's/^[^ ]* [^ ]* [^ ]* [^ ]* \([^ ]*\) .*/\1/' /proc/self/mountinfo | while IFS= read -r line; do
		# As the kernel writes odd characters.
		case $line in *\\*) line=$(printf "$(printf '%s' "$line" | sed 's/%/%%/g')") ;; esac
		if rest_mount "$line"; then
			printf '%s\n' "$line"
		fi
	done | sed '1!G;h;$!d'
}

# start_service NAME. The file in /run tells the service that no boot starts it.
start_service() {
	machine || return 0
	{ true >"/run/$1"; } 2>err || quit "service $1 cannot be started: $(reason err)"
	if [ -d /run/systemd/system ]; then
		{ systemctl daemon-reload && systemctl start "$1.service"; } >/dev/null 2>err || quit "service $1 does not start: $(reason err)"
	elif command -v rc-service >/dev/null 2>&1; then
		rc-service "$1" start >/dev/null 2>err || quit "service $1 does not start: $(reason err)"
	fi
}
