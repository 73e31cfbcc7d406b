#!/bin/sh
# Run the tests that depend on the kernel under another one, a kernel package of Debian in a virtual machine:
#
#   tools/test-kernel.sh [PACKAGE [PYTEST-WORD...]]
#
# PACKAGE is a kernel that apt knows, such as linux-image-6.1.0-50-amd64; without it, the newest that linux-image-amd64
# stands for. The other words are pytest's; without them, the integration and the escape tests run. It needs an amd64
# machine with apt, and root only to install what is missing. It takes minutes with /dev/kvm, more than an hour without;
# NO_KVM=1 goes without where that one does not work, as in some virtual machines. CPUS=2 is for pytest's -n 2.
# The guest works on this machine's files, through a layer in its memory that keeps all it writes from getting here.
# With SYSTEMD=1, which is what tools/test-systemd.sh is for, systemd is its process 1 and the tests are a service.
# SANDRUN_AGREEMENT, the number of cases of tests/integration/test_why_agrees.py, goes along into the guest.
set -eu
cd "$(dirname "$0")/.."
PATH=$PATH:/usr/sbin:/sbin
package=${1:-linux-image-amd64}
[ $# -eq 0 ] || shift
[ $# -gt 0 ] || set -- tests/integration tests/escape

say() {
    echo "test-kernel: $*" >&2
}
case $PWD/ in
/tmp/* | /dev/* | /run/* | /var/tmp/*)
    say "take a checkout in another place: the guest has a ${PWD%"${PWD#/*/}"} of its own"
    exit 1
    ;;
esac
missing=
for pair in qemu-system-x86_64:qemu-system-x86 busybox:busybox-static cpio:cpio modprobe:kmod; do
    command -v "${pair%:*}" >/dev/null || missing="$missing ${pair#*:}"
done
if [ -n "$missing" ]; then
    say "installing$missing"
    [ "$(id -u)" -eq 0 ] && sudo= || sudo=sudo
    # shellcheck disable=SC2086 # one word a package
    $sudo apt-get install -qq -y --no-install-recommends $missing >/dev/null
fi
tools/setup.sh run test

# A meta package depends on the image of the day. Nothing is installed: the image is unpacked here.
while image=$(apt-cache depends --important "$package" | sed -n 's/^ *Depends: \(linux-image-[^ ]*\)$/\1/p') && [ -n "$image" ]; do
    package=$image
done
kernel=$PWD/build/kernels/$package
if [ ! -e "$kernel/complete" ]; then
    say "fetching $package"
    rm -rf "$kernel"
    mkdir -p "$kernel"
    (cd "$kernel" && apt-get download -qq -o APT::Sandbox::User=root "$package" && dpkg -x ./*.deb . && rm ./*.deb)
    depmod -b "$kernel" "$(ls "$kernel/lib/modules")"
    touch "$kernel/complete"
fi
release=$(ls "$kernel/lib/modules")
# The compiler of AppArmor's profiles, for the tests of labels: unpacked, like the kernel.
if [ ! -e build/apparmor/complete ]; then
    say "fetching apparmor"
    rm -rf build/apparmor
    mkdir -p build/apparmor
    (cd build/apparmor && apt-get download -qq -o APT::Sandbox::User=root apparmor && dpkg -x ./*.deb . && rm ./*.deb)
    touch build/apparmor/complete
fi

# The initial file system loads what the root needs, makes the root, and hands over to /run/guest there.
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
initrd=$work/initrd
mkdir -p "$initrd/bin" "$initrd/modules" "$initrd/proc" "$initrd/dev" "$initrd/host" "$initrd/layer" "$initrd/root"
cp "$(command -v busybox)" "$initrd/bin/busybox"
modules=$(for module in virtio_pci virtio_blk ext4 9pnet_virtio 9p overlay; do
    modprobe -d "$kernel" -S "$release" --show-depends "$module" | sed -n 's/^insmod //p'
done | awk '!seen[$1]++ { print $1 }')
for module in $modules; do
    cp "$module" "$initrd/modules"
done
case ${SANDRUN_AGREEMENT:-} in
*[!0-9]*)
    say "not a number: SANDRUN_AGREEMENT"
    exit 2
    ;;
esac
accel=tcg patience=10
if [ -w /dev/kvm ] && [ -z "${NO_KVM:-}" ]; then
    accel=kvm patience=1
fi
printf '%s\0' "$@" >"$initrd/words"
cat >"$initrd/init" <<END
#!/bin/busybox sh
set -eu
/bin/busybox --install -s /bin
for file in $(for module in $modules; do printf '%s ' "${module##*/}"; done); do
    insmod /modules/\$file
done
mount -t proc proc /proc
mount -t devtmpfs devtmpfs /dev
mount -t 9p -o ro,trans=virtio,version=9p2000.L,cache=loose,msize=524288 host /host
mount -t tmpfs layer /layer
mkdir /layer/upper /layer/work
mount -t overlay -o lowerdir=/host,upperdir=/layer/upper,workdir=/layer/work overlay /root
mount -t ext4 /dev/vda /root/tmp
chmod 1777 /root/tmp
for place in var/tmp run; do
    mount -t tmpfs -o mode=1777 tmpfs /root/\$place
done
mount -t proc proc /root/proc
mount -t sysfs sysfs /root/sys
mount -t cgroup2 cgroup2 /root/sys/fs/cgroup
mount -t securityfs securityfs /root/sys/kernel/security
mount -t devtmpfs devtmpfs /root/dev
mkdir -p /root/dev/pts /root/dev/shm
mount -t devpts -o mode=620,ptmxmode=666 devpts /root/dev/pts
mount -t tmpfs -o mode=1777 tmpfs /root/dev/shm
ip link set lo up
rm -rf /root/usr/lib/modules/$release
mkdir -p /root/usr/lib/modules
ln -s $kernel/lib/modules/$release /root/usr/lib/modules/$release
cp /words /guest /root/run/
exec switch_root /root /bin/sh /run/guest
END
cat >"$initrd/guest" <<END
if [ \$\$ -eq 1 ] && [ -n "${SYSTEMD:-}" ]; then
    chmod 755 /run
    # Of this machine's own services and mounts nothing is started: only what the tests' service asks for.
    mkdir -p /run/systemd/system
    cat >/run/systemd/system/tests.service <<UNIT
[Unit]
Wants=dbus.socket systemd-logind.service user@1234.service
After=dbus.socket systemd-logind.service user@1234.service
[Service]
Type=oneshot
ExecStart=/bin/sh /run/guest
StandardOutput=journal+console
UNIT
    getent passwd 1234 >/dev/null || useradd --no-create-home --home-dir /tmp --uid 1234 tester
    exec /lib/systemd/systemd --unit=tests.service
fi
cd '$PWD'
[ -z "${SYSTEMD:-}" ] || export SANDRUN_MUST_WORK=1
[ -z "${SANDRUN_AGREEMENT:-}" ] || export SANDRUN_AGREEMENT=${SANDRUN_AGREEMENT:-}
export SANDRUN_PATIENCE=$patience PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 PYTHONDONTWRITEBYTECODE=1
stty -F /dev/ttyS1 raw
{
    uname -srm
    setsid xargs -0 .venv/bin/python -m pytest -q -p no:cacheprovider --timeout 1200 </run/words
    echo \$? >/dev/ttyS2
} 2>&1 | cat >/dev/ttyS1
echo b >/proc/sysrq-trigger
END
chmod +x "$initrd/init"
(cd "$initrd" && find . | cpio -o -H newc --quiet) >"$work/initrd.img"

# An overlay wants a file system with extended attributes below it, which a tmpfs of Linux 6.5 is not.
truncate -s 4G "$work/disk"
mkfs.ext4 -q -F "$work/disk"

say "starting $package ($accel)"
timeout 14400 qemu-system-x86_64 -nodefaults -no-reboot -display none -machine q35 -accel "$accel" -cpu max -smp "${CPUS:-1}" -m 3G \
    -kernel "$kernel/boot/vmlinuz-$release" -initrd "$work/initrd.img" -append "console=ttyS0 panic=-1 quiet fstab=no luks=no" \
    -virtfs local,path=/,mount_tag=host,security_model=none,readonly=on,multidevs=remap \
    -drive "file=$work/disk,format=raw,if=virtio,cache=unsafe" \
    -serial "file:$work/console" -serial stdio -serial "file:$work/status" </dev/null || true
status=$(tr -d '\r\n' <"$work/status")
if [ -z "$status" ]; then
    say "the guest came to no end; the last lines of its console:"
    tail -n 20 "$work/console" >&2
    exit 1
fi
exit "$status"
