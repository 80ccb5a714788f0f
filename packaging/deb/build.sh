#!/usr/bin/env bash
# Builds domstat_VERSION_ARCH.deb: a private virtual environment in /usr/lib/domstat, with what packaging/requirements.lock
# names and nothing else, the service, manual pages, completion. Usage: build.sh PYTHON TARGET-FOLDER
# PYTHON is one with domstat installed, for the manual pages; the package's own is Debian's python3.
set -euo pipefail

python=$(readlink -f "$(dirname "$1")")/$(basename "$1")
mkdir -p "$2"
target=$(readlink -f "$2")
cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/../.."

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
root=$work/root home=/usr/lib/domstat
version=$("$python" -c 'import domstat; print(domstat.__version__)')
arch=$(dpkg --print-architecture)

# The environment is made where it is to be, in a folder of its own, and its scripts are told so.
/usr/bin/python3 -m venv "$root$home"
"$root$home/bin/pip" --quiet --disable-pip-version-check install --no-compile --require-hashes \
    --requirement packaging/requirements.lock
"$python" -m build --wheel --outdir "$work/wheel" . >/dev/null
"$root$home/bin/pip" --quiet --disable-pip-version-check install --no-compile --no-deps "$work"/wheel/domstat-*.whl
# pip stays: with it other people's sinks are installed beside ours.
"$root$home/bin/python" -m pip --quiet --disable-pip-version-check uninstall --yes setuptools
find "$root$home" -name __pycache__ -prune -exec rm -rf {} +
find "$root$home/bin" -type f ! -name domstat ! -name pip -delete
sed -i "1s|.*|#!$home/bin/python3 -I|" "$root$home/bin/domstat" "$root$home/bin/pip"
sed -i "s|$root||g" "$root$home/pyvenv.cfg"
find "$root$home" -name '*.dist-info' -type d -exec sh -c 'rm -f "$1"/direct_url.json' _ {} \;
# Read-only for whoever runs it, so what is compiled is compiled here.
"$root$home/bin/python3" -m compileall -q --invalidation-mode unchecked-hash -s "$root" "$root$home/lib" || true

install -d "$root/usr/bin" "$root/usr/share/man/man1" "$root/usr/share/man/man5" "$root/usr/share/doc/domstat" \
    "$root/usr/share/bash-completion/completions" "$root/lib/systemd/system" "$root/usr/share/domstat"
ln -s "$home/bin/domstat" "$root/usr/bin/domstat"
install -D -m 0644 packaging/deb/domstat.toml "$root/etc/domstat/domstat.toml"
install -m 0644 packaging/systemd/domstat.service "$root/lib/systemd/system/"
install -D -m 0644 packaging/systemd/domstat.sysusers "$root/usr/lib/sysusers.d/domstat.conf"
install -D -m 0644 packaging/systemd/domstat.tmpfiles "$root/usr/lib/tmpfiles.d/domstat.conf"
install -D -m 0644 packaging/polkit/60-domstat.rules "$root/usr/share/doc/domstat/examples/60-domstat.rules"
cp -r packaging/grafana/prometheus packaging/grafana/influxdb "$root/usr/share/domstat/"
install -m 0644 packaging/prometheus/domstat.rules.yml "$root/usr/share/domstat/"
"$python" packaging/manpages.py "$work"
gzip -9n <"$work/domstat.1" >"$root/usr/share/man/man1/domstat.1.gz"
gzip -9n <"$work/domstat.toml.5" >"$root/usr/share/man/man5/domstat.toml.5.gz"
install -m 0644 packaging/deb/completion.bash "$root/usr/share/bash-completion/completions/domstat"
install -m 0644 LICENSE "$root/usr/share/doc/domstat/copyright"
gzip -9n <CHANGELOG.md >"$root/usr/share/doc/domstat/changelog.gz"
chmod -R go=rX "$root"

# Of what is compiled here dpkg-shlibdeps says which libraries it needs; what came compiled brings its own, but for these
# two. And this Python, since what is compiled is compiled for it.
mkdir -p "$work/debian"
printf 'Source: domstat\n\nPackage: domstat\nArchitecture: any\n' >"$work/debian/control"
libraries=$(cd "$work" && find "$root$home" -name 'libvirtmod*.so' -print0 | xargs -0 dpkg-shlibdeps -O |
    sed -n 's/^shlibs:Depends=//p')
minor=$(/usr/bin/python3 -c 'import sys; print(sys.version_info.minor)')
depends="python3 (>= 3.$minor), python3 (<< 3.$((minor + 1))), passwd, init-system-helpers, libstdc++6, zlib1g, $libraries"

mkdir "$root/DEBIAN"
sed "s|@VERSION@|$version|; s|@ARCH@|$arch|; s|@DEPENDS@|$depends|; s|@SIZE@|$(du -sk "$root" | cut -f1)|" \
    packaging/deb/control.in >"$root/DEBIAN/control"
echo /etc/domstat/domstat.toml >"$root/DEBIAN/conffiles"
for script in postinst prerm postrm; do install -m 0755 "packaging/deb/$script" "$root/DEBIAN/"; done
(cd "$root" && find . -type f ! -path './DEBIAN/*' -printf '%P\0' | sort -z | xargs -0 md5sum >DEBIAN/md5sums)
dpkg-deb --root-owner-group -Zxz --build "$root" "$target/domstat_${version}_$arch.deb" >/dev/null
echo "$target/domstat_${version}_$arch.deb"
