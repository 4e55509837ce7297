package node

import "strings"

// Reasons that stand in Entry.Unread, the same from every kind of target.
const (
	UnreadLarge = "larger than the 4 MiB that are collected"
	UnreadLink  = "a symbolic link to a directory is not followed inside a walk"
	UnreadDeep  = "lies deeper than the levels of directories that are collected"
	UnreadName  = "holds a name that is not valid UTF-8 or has a control character in it"
)

// Unreadable says why the bytes of the file at p are not collected wherever the
// node is: what the kernel makes up on the fly is no evidence of an image.
func Unreadable(p string) string {
	if strings.HasPrefix(p, "/proc/") || strings.HasPrefix(p, "/sys/") {
		return "is made up by the kernel and not on a disk"
	}
	return ""
}

// UnreadDead is the reason of a path that a dead link stands for.
func UnreadDead(link string) string { return link + " is a symbolic link that leads nowhere" }
