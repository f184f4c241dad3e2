#!/bin/sh
# Put the built OHIF viewer into a folder: viewer.sh FOLDER. npm fetches it from the registry that this machine is set
# up for; nothing of it is installed or run by npm, and the hash says that it is what the tests were written against.
set -eu
folder=$1
package=@ohif/app version=3.13.2
sha256=b189d3963bfc58e9394a9db8c7be75d07beb029ec211dbb126d47b62969dd3f1
[ "$(cat "$folder/version" 2>/dev/null)" = "$version" ] && exit 0
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
(cd "$work" && npm pack --silent "$package@$version" >/dev/null) || {
    echo "The test of the viewer needs $package $version, which npm could not fetch." >&2
    echo "Try: npm pack $package@$version" >&2
    exit 1
}
echo "$sha256  $work/ohif-app-$version.tgz" | sha256sum --check --quiet || {
    echo "$package $version is not what it was: its hash is another." >&2
    exit 1
}
# Left out are the models and sources that only other kinds of images and debuggers need: two thirds of it.
mkdir "$work/viewer"
tar -xzf "$work/ohif-app-$version.tgz" -C "$work/viewer" --strip-components=2 --no-same-owner \
    --exclude='*.map' --exclude=package/dist/ort package/dist
chmod -R a+rX "$work/viewer"
echo "$version" >"$work/viewer/version"
rm -rf "$folder"
mv "$work/viewer" "$folder"
