#!/bin/sh
# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
#
# docker-repository.sh FOLDER SUITE: a signed APT repository with packages by the names of Docker's own: Debian's engine
# and client under other names, because Debian's do not live beside those names, and the rest empty.
set -eu
folder=$1 suite=$2
binaries=$folder/dists/$suite/stable/binary-amd64
mkdir -p "$binaries" "$folder/pool"

renamed() { # DEBIAN'S NAME, DOCKER'S NAME
    (cd /tmp && apt-get -qq download "$1" && dpkg-deb -R "$1"_*.deb "/tmp/$2")
    sed -i -E "s/^Package: .*/Package: $2/; s/^Version: .*/Version: 5:99.1/
        /^(Breaks|Conflicts|Replaces|Recommends|Suggests|Source|Built-Using):/d" "/tmp/$2/DEBIAN/control"
    dpkg-deb --build -Znone "/tmp/$2" "$folder/pool" >/dev/null
}
empty() { # DOCKER'S NAME
    mkdir -p "/tmp/$1/DEBIAN"
    printf '%s\n' "Package: $1" "Version: 5:99.1" "Architecture: amd64" "Maintainer: tests <tests@example.org>" \
        "Description: stands for Docker's own package" >"/tmp/$1/DEBIAN/control"
    dpkg-deb --build "/tmp/$1" "$folder/pool" >/dev/null
}
renamed docker.io docker-ce
renamed docker-cli docker-ce-cli
for name in containerd.io docker-buildx-plugin docker-compose-plugin; do empty "$name"; done

cd "$folder"
apt-ftparchive packages pool >"$binaries/Packages"
apt-ftparchive -o APT::FTPArchive::Release::Suite="$suite" -o APT::FTPArchive::Release::Codename="$suite" \
    -o APT::FTPArchive::Release::Components=stable -o APT::FTPArchive::Release::Architectures=amd64 \
    release "dists/$suite" >"/tmp/Release"
mv /tmp/Release "dists/$suite/Release"
export GNUPGHOME=/tmp/gnupg
mkdir -p "$GNUPGHOME"
chmod 700 "$GNUPGHOME"
gpg --batch --quiet --passphrase '' --quick-generate-key tests@example.org rsa2048 sign never
gpg --batch --quiet --clearsign --output "dists/$suite/InRelease" "dists/$suite/Release"
gpg --batch --quiet --armor --export tests@example.org >./gpg
