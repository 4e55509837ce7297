# worker.sh: does what the plan says. Everything is prepared first; then a
# script "undo" that can take all of it back is written and armed, and only then
# is anything put in place. The file "settled" is what makes it final: both marks
# are made by the shell itself, in one step. The power may go away at any moment:
# the disk has all that was prepared before "armed" is there, all that was put in
# place before anything is judged, and no "armed" any more before the old files
# go. On one file system a step that comes later is not on the disk sooner.
# Only what POSIX, dash, bash and busybox have in common is used here.
# shellcheck shell=sh disable=SC2034,SC2154,SC3013
set -u
work=$1
. ./functions.sh
. ./settings
. ./plan.sh
exec 2>stderr
: >report
: >list
: >answer
lines='' count=0 drop='' children='' confirming='' keep=''
qself='' qhave=''
stopped="it was stopped by a signal, or took longer than the timeout"
late=$stopped
trap 'quit "$late"' TERM INT
echo $$ >pid

wait_turn
if [ "$mode" = run ]; then
	recover
	run_program
	trap '' TERM INT
	stream ok
	exit
fi
if [ "$mode" = apply ]; then
	recover
	if assumptions_hold; then
		apply
	else
		report stale
	fi
fi
on_disk
look
[ -f armed ] && settle
trap '' TERM INT
stream ok
