#!/bin/sh
# Install the Debian packages that are missing when root; otherwise name them and fail.
#   debian-packages.sh build PYTHON   what `make install` needs: one dependency is built from source
#   debian-packages.sh test           what `make test` needs besides: peers, validators, the second database, a browser
set -eu
missing=""
case "$1" in
build)
    python=$2
    why="The installation needs"
    # Asked for is the thing itself: a Python from elsewhere has its headers without a Debian package.
    command -v "$python" >/dev/null || missing="$missing $python"
    "$python" -c 'import ensurepip, venv' 2>/dev/null || missing="$missing $python-venv"
    include=$("$python" -c 'import sysconfig; print(sysconfig.get_path("include"))' 2>/dev/null) || include=""
    [ -e "$include/Python.h" ] || missing="$missing $python-dev"
    command -v gcc >/dev/null || missing="$missing gcc"
    echo '#include <stdlib.h>' | gcc -E - >/dev/null 2>&1 || missing="$missing libc6-dev"
    ;;
test)
    why="The tests need"
    for package in dcmtk orthanc orthanc-dicomweb jing dicom3tools libpixelmed-java openssl postgresql chromium nginx-light; do
        dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q "install ok installed" || missing="$missing $package"
    done
    command -v javac >/dev/null || missing="$missing default-jdk-headless"
    command -v npm >/dev/null || missing="$missing npm"
    ;;
esac
[ -z "$missing" ] && exit 0
if [ "$(id -u)" -ne 0 ]; then
    echo "$why these Debian packages:$missing" >&2
    echo "Install them with: sudo apt-get install --no-install-recommends$missing" >&2
    exit 1
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
# No service is started by the installation: the tests start their own, on free loopback ports.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod +x "$policy"
    trap 'rm -f "$policy"' EXIT
fi
# shellcheck disable=SC2086
apt-get install -y -qq --no-install-recommends $missing
