# worker.sh: does what the plan says. Everything is prepared first; then a
# script "undo" that can take all of it back is written and armed, and only then
# is anything put in place. The file "settled" is what makes it final: both marks
# are made by the shell itself, in one step.
# Only what POSIX, dash, bash and busybox have in common is used here.
# shellcheck disable=SC2034,SC2154
set -u
work=$1
. ./functions.sh
. ./settings
. ./plan.sh
exec 2>stderr
: >report
: >list
: >answer
lines='' count=0 drop='' children='' confirming=''
trap 'quit "it was stopped by a signal, or took longer than the timeout"' TERM INT
echo $$ >pid

if [ "$mode" = apply ]; then
	recover
	if assumptions_hold; then
		apply
	else
		report stale
	fi
fi
look
[ -f armed ] && settle
trap '' TERM INT
stream ok
