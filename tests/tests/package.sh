# A package from its installation to its purge by dpkg, in a root that is this machine's with nothing of it written to.
# package.sh FOLDER: with the packages 1.deb and 2.deb, another version. In a mount namespace of its own, which takes all
# of it away. Prints what happens, and "call:" with each command that the package has given.
set -eu
cd "$1"
mkdir root
mount -t tmpfs none root
mkdir root/upper root/work root/root
mount -t overlay overlay -o lowerdir=/,upperdir=root/upper,workdir=root/work root/root
cp ./*.deb root/root/
cd root/root
mount -t tmpfs none run
mkdir -p run/systemd/system
for command in systemctl deb-systemd-invoke; do
    rm -f "usr/bin/$command"
    cat > "usr/bin/$command" <<EOF
#!/bin/sh
echo "call: $command \$*" >> /calls
case "\$*" in *is-active*) test -e /is-active ;; esac
EOF
    chmod 755 "usr/bin/$command"
done
cat > steps <<'EOF'
step() {
    echo "== $1"
    shift
    : > /calls
    "$@" 2>&1 || echo "code $?"
    cat /calls
}
is_there() { for file; do test -e "$file" && echo "there: $file"; done; true; }
configuration=/etc/enforcer/enforcer.yaml
step install dpkg --install /1.deb
is_there $configuration /etc/enforcer/registry
step upgrade-stopped dpkg --install /2.deb
touch /is-active
echo '# of the owner' >> $configuration
step upgrade dpkg --install /1.deb
tail -n 1 $configuration
touch /detach-fails
step remove-fails dpkg --remove enforcer
is_there /usr/sbin/enforcer /run/systemd/system-generators/enforcer-generator
rm /detach-fails
step remove dpkg --remove enforcer
is_there /usr/sbin/enforcer $configuration /run/systemd/system-generators/enforcer-generator
touch /etc/enforcer/registry/of-the-owner.yaml
step purge dpkg --purge enforcer
is_there $configuration /etc/enforcer/registry/of-the-owner.yaml
rm -r /etc/enforcer /run/systemd/system
step install-without-systemd dpkg --install /1.deb
step purge-without-systemd dpkg --purge enforcer
is_there /etc/enforcer
EOF
chroot . /bin/sh /steps
