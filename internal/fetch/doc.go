// Package fetch brings files that options name to the build host, through the
// plugin SDK's downloader: its cache, progress, proxies and checksums.
package fetch
