#!/bin/sh
# Written by packer-plugin-k3s (provisioner k3s-cis).
# Removes K3s from a node, with what it and its pods keep on the disk: the datastore
# of a server too. What else hardening wrote stays, and so does the node's password
# in /etc/rancher/node, with which it could join again. Used as root.
set -u

if [ "$(id -u)" != 0 ]; then
	echo "$0: root alone can do this" >&2
	exit 1
fi

{{.BinDir}}/k3s-killall.sh || exit

for name in k3s k3s-agent; do
	if [ -d /run/systemd/system ]; then
		systemctl disable "$name" 2>/dev/null
		systemctl reset-failed "$name" 2>/dev/null
	elif command -v rc-update >/dev/null; then
		rc-update delete "$name" default 2>/dev/null
	fi
	rm -f "/etc/systemd/system/multi-user.target.wants/$name.service" "/etc/systemd/system/$name.service" \
		"/etc/systemd/system/$name.service.env" "/etc/systemd/system/$name.service.d/60-k3s-cis.conf" \
		"/etc/runlevels/default/$name" "/etc/init.d/$name"
	! grep -q '^# Written by packer-plugin-k3s' "/etc/conf.d/$name" 2>/dev/null || rm -f "/etc/conf.d/$name"
	rmdir "/etc/systemd/system/$name.service.d" 2>/dev/null
done
[ ! -d /run/systemd/system ] || systemctl daemon-reload

for name in kubectl crictl ctr; do
	[ "$(readlink "{{.BinDir}}/$name")" != k3s ] || rm -f "{{.BinDir}}/$name"
done

set -- /etc/rancher/k3s /run/k3s /run/flannel /var/lib/kubelet {{.DataDirs}}
left=0
for dir; do
	# What is still mounted may be anything.
	if awk -v at="$dir/" 'index($2, at) == 1 { found = 1 } END { exit !found }' /proc/mounts; then
		echo "$0: $dir stays, as something is mounted below it" >&2
		left=1
		continue
	fi
	# A disk that is mounted there stays, empty.
	if awk -v at="$dir" '$2 == at { found = 1 } END { exit !found }' /proc/mounts; then
		find "$dir" -mindepth 1 -maxdepth 1 -exec rm -rf {} +
	else
		rm -rf "$dir"
	fi
done
rm -f {{.BinDir}}/k3s {{.BinDir}}/k3s-killall.sh {{.BinDir}}/k3s-uninstall.sh {{.BinDir}}/k3s-agent-uninstall.sh
exit "$left"
