#!/bin/sh
# Makes a machine's disk, kernel and first file system in FOLDER. As root; sources of packages come by standard input.
# image.sh FOLDER FILES SUITE PACKAGES
set -eu
folder=$1 files=$2 suite=$3 packages=$4
root=$folder/root

# Few modules, which are loaded one by one where every instruction is emulated. No profiles of AppArmor: compiling them
# is half of a boot there; the kernel's part of it is on all the same.
mmdebstrap --quiet --variant=apt --mode=root --architectures=amd64 \
    --aptopt='Acquire::Languages "none"' \
    --dpkgopt='path-exclude=/usr/share/doc/*' \
    --dpkgopt='path-exclude=/usr/share/locale/*' \
    --dpkgopt='path-exclude=/usr/share/man/*' \
    --essential-hook='mkdir -p "$1/etc/initramfs-tools/conf.d"' \
    --essential-hook='echo MODULES=list > "$1/etc/initramfs-tools/conf.d/machine"' \
    --essential-hook='printf "%s\n" ext4 virtio_pci virtio_blk > "$1/etc/initramfs-tools/modules"' \
    --include="$packages" "$suite" "$root" -

cp -r --no-preserve=ownership "$files/." "$root/"
echo machine > "$root/etc/hostname"
echo '127.0.1.1 machine' >> "$root/etc/hosts"
echo '/dev/vda / ext4 defaults 0 1' > "$root/etc/fstab"
ln -sf ../run/systemd/resolve/stub-resolv.conf "$root/etc/resolv.conf"
mkdir -p "$root/var/log/journal"
for user in alice bob; do
    chroot "$root" useradd --create-home --shell /bin/bash "$user"
done
in_root() { chroot "$root" systemctl --quiet "$@" 2>/dev/null; }
in_root enable systemd-networkd systemd-resolved ssh cron atd \
    outside-network outside-servers outside-names accept-keys
in_root mask serial-getty@ttyS0 apt-daily.timer apt-daily-upgrade.timer systemd-networkd-wait-online \
    fstrim.timer e2scrub_all.timer e2scrub_reap podman.service podman.socket podman-auto-update.timer \
    netavark-dhcp-proxy.socket ldconfig systemd-update-done

# Its daemon is started where it is tried.
in_root disable docker.service docker.socket containerd.service

cp "$root"/boot/vmlinuz-* "$folder/vmlinuz"
cp "$root"/boot/initrd.img-* "$folder/initrd"
truncate --size=3G "$folder/disk"
mke2fs -q -t ext4 -d "$root" "$folder/disk"
rm -rf "$root"
chown --reference="$folder" "$folder"/*
chmod a+r "$folder"/*
