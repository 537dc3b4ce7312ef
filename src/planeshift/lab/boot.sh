#!/bin/sh
# A host's first process, as PID 1 of new network, mount, PID, UTS and IPC namespaces: it makes the host's root and
# becomes its init. Called by host.py in the directory that disk.py made: boot.sh NAME INIT...
set -eu
name=$1
shift
mount --make-rprivate /
if [ -f disk.img ]; then mount -o loop disk.img disk; fi
mkdir -p disk/upper disk/work disk/root
chmod 0755 disk/upper
cp -a seed/. disk/upper/
# The host's root: what the machine has, with the host's own writes above it. Relative paths, since a path with a comma
# or a colon would be taken for options.
mount -t overlay overlay -o lowerdir=/,upperdir=disk/upper,workdir=disk/work disk/root
root=disk/root
tab=$(printf '\t')
while IFS=$tab read -r number point; do # the machine's further file systems, each in the same way
  mkdir -p "disk/mounts/$number/upper" "disk/mounts/$number/work"
  mount -t overlay overlay -o "lowerdir=$point,upperdir=disk/mounts/$number/upper,workdir=disk/mounts/$number/work" "$root$point"
done <mounts.txt
mount -t proc proc "$root"/proc
case $1 in
*/systemd) # sets up what it finds, so it gets devices and control groups of its own, and the kernel to read
  mount -t sysfs -o ro sysfs "$root"/sys
  if [ -f /sys/fs/cgroup/cgroup.controllers ]; then
    mount -t cgroup2 cgroup "$root"/sys/fs/cgroup
  else
    mount -t tmpfs -o mode=0755 tmpfs "$root"/sys/fs/cgroup
    for hierarchy in /sys/fs/cgroup/*/; do
      hierarchy=$(basename "$hierarchy")
      mkdir "$root/sys/fs/cgroup/$hierarchy"
      case $hierarchy in
      systemd) mount -t cgroup -o none,name=systemd cgroup "$root/sys/fs/cgroup/$hierarchy" ;;
      unified) mount -t cgroup2 cgroup "$root/sys/fs/cgroup/$hierarchy" ;;
      *) mount -t cgroup -o "$hierarchy" cgroup "$root/sys/fs/cgroup/$hierarchy" ;;
      esac
    done
  fi
  mount -t tmpfs -o mode=0755 tmpfs "$root"/dev
  while read -r device major minor; do mknod -m 0666 "$root/dev/$device" c "$major" "$minor"; done <<END
null 1 3
zero 1 5
full 1 7
random 1 8
urandom 1 9
tty 5 0
END
  mkdir "$root"/dev/shm "$root"/dev/pts
  mount -t devpts -o newinstance,ptmxmode=0666,mode=0620 devpts "$root"/dev/pts
  ln -s pts/ptmx "$root"/dev/ptmx
  for link in fd: stdin:/0 stdout:/1 stderr:/2; do ln -s "/proc/self/fd${link#*:}" "$root/dev/${link%%:*}"; done
  mkdir "$root"/dev/mqueue "$root"/dev/hugepages
  ;;
*)
  mount -t sysfs sysfs "$root"/sys
  mount --rbind /sys/fs/cgroup "$root"/sys/fs/cgroup
  mount --rbind /dev "$root"/dev
  ;;
esac
mount -t tmpfs -o mode=1777 tmpfs "$root"/dev/shm
mount -t tmpfs -o mode=0755 tmpfs "$root"/run
mount -t tmpfs -o mode=1777 tmpfs "$root"/tmp
while IFS=$tab read -r from to mode; do # directories that are not to be an overlay, and programs
  case $from in /*) ;; *) mkdir -p "$from" ;; esac
  mkdir -p "$root$to"
  mount --bind "$from" "$root$to"
  [ "$mode" = rw ] || mount -o remount,bind,ro "$root$to"
done <binds.txt
# The machine's own files, to read: what is written there after this is not sure to show through an overlay.
mkdir "$root/run/machine"
mount --bind / "$root/run/machine"
mount -o remount,bind,ro "$root/run/machine"
while IFS=$tab read -r number point; do
  mount --bind "$point" "$root/run/machine$point"
  mount -o remount,bind,ro "$root/run/machine$point"
done <mounts.txt
hostname "$name"
ip link set lo up
echo 1 >/proc/sys/net/ipv4/ip_forward
cd "$root"
mkdir run/before
pivot_root . run/before
umount -l /run/before
rmdir /run/before
cd /
case $1 in */systemd)
  mount --bind /proc/sys /proc/sys
  mount -o remount,bind,ro /proc/sys
  set -- container=planeshift SYSTEMD_UNIT_PATH=/usr/local/lib/planeshift/systemd:/run/systemd/system:/etc/systemd/system \
    SYSTEMD_GENERATOR_PATH=/nonexistent "$@"
  ;;
esac
exec env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 \
  "PLANESHIFT_LAB=$PLANESHIFT_LAB" "$@"
