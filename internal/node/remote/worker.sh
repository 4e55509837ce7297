# worker.sh: does what the plan says. Everything is prepared first; then a
# file "undo" that can take all of it back is written, and only then is
# anything put in place. Renaming "undo" to "done" is what makes it final.
# Only what POSIX, dash, bash and busybox have in common is used here.
# shellcheck disable=SC2034,SC2154
set -u
work=$(pwd -P)
. ./lib.sh
. ./commit.sh
. ./look.sh
. ./settings
. ./plan.sh
exec 2>stderr
: >report
: >meta
: >list
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
[ "$mode" = apply ] && [ -f undo ] && settle
trap '' TERM INT
stream ok
