# Two versions of one package, built here, and the first of them installed.
build() {
    version=$1 tree=/root/build-$1
    mkdir -p $tree/DEBIAN $tree/etc/ours $tree/usr/lib/ours
    printf 'Package: ours\nVersion: %s\nArchitecture: all\nMaintainer: Ours <root@localhost>\nDescription: ours\n' "$version" > $tree/DEBIAN/control
    echo kept > $tree/etc/ours/kept.conf
    mkdir -p $tree/usr/share/man/man1
    echo '.TH ours 1' | gzip -n > $tree/usr/share/man/man1/ours.1.gz
}
build 1
tree=/root/build-1
echo 'to be removed' > $tree/etc/ours/removed.conf
echo 'to be renamed' > $tree/etc/ours/old-name.conf
printf '/etc/ours/kept.conf\n/etc/ours/removed.conf\n/etc/ours/old-name.conf\n' > $tree/DEBIAN/conffiles
mkdir -p $tree/usr/lib/ours/plugins/deep
echo one > $tree/usr/lib/ours/plugins/one
echo two > $tree/usr/lib/ours/plugins/deep/two
ln $tree/usr/lib/ours/plugins/one $tree/usr/lib/ours/plugins/one-again

build 2
tree=/root/build-2
echo 'kept, changed by version 2' > $tree/etc/ours/kept.conf
echo 'renamed' > $tree/etc/ours/new-name.conf
printf '/etc/ours/kept.conf\n/etc/ours/new-name.conf\n' > $tree/DEBIAN/conffiles
mkdir -p $tree/usr/lib/ours/plugins-2/deep
echo one > $tree/usr/lib/ours/plugins-2/one
printf 'interest-noawait /usr/lib/ours\nactivate-noawait ldconfig\n' > $tree/DEBIAN/triggers
for script in preinst postinst postrm; do
    cat > $tree/DEBIAN/$script <<'SCRIPT'
#!/bin/sh
set -e
dpkg-maintscript-helper rm_conffile /etc/ours/removed.conf 2~ ours -- "$@"
dpkg-maintscript-helper mv_conffile /etc/ours/old-name.conf /etc/ours/new-name.conf 2~ ours -- "$@"
dpkg-maintscript-helper dir_to_symlink /usr/lib/ours/plugins plugins-2 2~ ours -- "$@"
SCRIPT
    chmod 755 $tree/DEBIAN/$script
done
cat >> $tree/DEBIAN/postinst <<'SCRIPT'
if [ "$1" = configure ]; then
    getent passwd _ours > /dev/null || useradd --system --home-dir /var/lib/ours --create-home _ours
    install -d -o _ours -g _ours -m 0750 /var/lib/ours/state /var/log/ours
    dpkg-statoverride --list /usr/lib/ours > /dev/null || dpkg-statoverride --update --add root _ours 0750 /usr/lib/ours
fi
SCRIPT
mkdir -p /root/debs
dpkg-deb --root-owner-group -b /root/build-1 /root/debs/ours_1_all.deb
dpkg-deb --root-owner-group -b /root/build-2 /root/debs/ours_2_all.deb
rm -r /root/build-1 /root/build-2
dpkg -i /root/debs/ours_1_all.deb
# A hand-edited conffile is renamed with its edits; nobody is asked.
echo 'edited by hand' >> /etc/ours/old-name.conf
