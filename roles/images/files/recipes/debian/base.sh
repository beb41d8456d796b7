#!/bin/sh
# Makes a small Debian root file system where no registry answers, and writes it to stdout as a tar:
#
#     SUITE=trixie sh base.sh | docker import --change 'CMD ["bash"]' - NAME:TAG
#
# Needs root, debootstrap and about 500 MB below TMPDIR (default /var/tmp). Words go to stderr.
set -eu

suite=${SUITE:-trixie}
mirror=${MIRROR:-http://deb.debian.org/debian}
security=${SECURITY:-http://security.debian.org/debian-security}

command -v debootstrap >/dev/null || { echo "base.sh: debootstrap is not installed (package debootstrap)" >&2; exit 3; }
[ "$(id -u)" = 0 ] || { echo "base.sh: debootstrap needs root" >&2; exit 3; }

work=$(mktemp -d "${TMPDIR:-/var/tmp}/quaylock-base.XXXXXX")
root=$work/root
# the new system has no such directory
unset TMPDIR
# debootstrap leaves /proc mounted below the root when it is interrupted: removing the tree would reach into the host
tidy() { umount "$root/sys" "$root/proc" 2>/dev/null || :; rm -rf --one-file-system "$work"; }
trap tidy EXIT
trap 'exit 130' HUP INT TERM

keyring=
[ -r /usr/share/keyrings/debian-archive-keyring.gpg ] && keyring=--keyring=/usr/share/keyrings/debian-archive-keyring.gpg
# shellcheck disable=SC2086 # no keyring is no argument
debootstrap --variant=minbase $keyring --include=ca-certificates "$suite" "$root" "$mirror" >&2

# What a package brings along and no container reads. Licences (copyright files) stay.
cat >"$root/etc/dpkg/dpkg.cfg.d/quaylock" <<'END'
path-exclude=/usr/share/doc/*
path-include=/usr/share/doc/*/copyright
path-exclude=/usr/share/info/*
path-exclude=/usr/share/man/*
path-exclude=/usr/share/locale/*
path-include=/usr/share/locale/locale.alias
END
cat >"$root/etc/apt/apt.conf.d/90quaylock" <<'END'
APT::Install-Recommends "false";
APT::Install-Suggests "false";
Acquire::Languages "none";
Dir::Cache::pkgcache "";
Dir::Cache::srcpkgcache "";
END
rm -f "$root/etc/apt/sources.list"
cat >"$root/etc/apt/sources.list.d/debian.sources" <<END
Types: deb
URIs: $mirror
Suites: $suite $suite-updates
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: $security
Suites: $suite-security
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
END
# an image must not start services while packages are installed
printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d"
chmod 755 "$root/usr/sbin/policy-rc.d"

# the release's packages are as old as its last point release: bring in what was mended since
chroot "$root" apt-get -q update >&2
DEBIAN_FRONTEND=noninteractive chroot "$root" apt-get -qy dist-upgrade >&2
chroot "$root" apt-get -q clean >&2

find "$root/usr/share/doc" -type f ! -name copyright -delete
find "$root/usr/share/doc" -mindepth 1 -type d -empty -delete
find "$root/usr/share/locale" -mindepth 1 -maxdepth 1 ! -name locale.alias -exec rm -rf {} +
rm -rf "$root"/usr/share/man/* "$root"/usr/share/info/* "$root"/var/lib/apt/lists/* "$root"/var/cache/apt/* \
  "$root"/var/log/* "$root"/tmp/* "$root"/var/tmp/* "$root"/run/*
: >"$root/etc/machine-id"
rm -f "$root/etc/hostname" "$root/etc/resolv.conf"

tar -C "$root" --numeric-owner --one-file-system -c .
