#!/usr/bin/env bash
# Builds ISO 9660 images and what a reader must find in each: the tree they were made of.
# usage: scripts/images/iso.sh OUTDIR      needs xorriso, genisoimage (with mkzftree), 7zip, root for owners and devices
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$1"
cd "$1"
export TZ=UTC LC_ALL=C.UTF-8
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

python3 - "$scratch" <<'EOF'
import os, random, socket, sys
os.chdir(sys.argv[1])
rnd = random.Random(1)
# genisoimage writes wrong dates from 2028 on.
OLD = [-2000000000, -1, 0, 10**9, 1_700_000_000]
TIMES = OLD[:]

def write(path, content, n=0):
    with open(path, "wb") as f:
        f.write(content)
    os.chmod(path, [0o644, 0o755, 0o4755, 0o600, 0o444][n % 5])
    os.chown(path, n % 3 * 1000, n % 4 * 100)
    os.utime(path, (0, TIMES[n % len(TIMES)]))

def touched(top):
    for folder, _, _ in os.walk(top, topdown=False):
        os.utime(folder, (0, TIMES[len(folder) % len(TIMES)]))

# Everything Rock Ridge has, in large numbers.
os.makedirs("main/numbered")
for n in range(50_000):
    os.close(os.open("main/numbered/n%d" % n, os.O_CREAT | os.O_WRONLY, 0o640))
    os.utime("main/numbered/n%d" % n, (0, n))
for d in range(50):
    os.makedirs("main/many/folder %d" % d)
    for n in range(100):
        write("main/many/folder %d/file %d with a long name of sixty characters and some more" % (d, n),
              rnd.randbytes(rnd.randrange(3000)), n)

# Everything Rock Ridge has, in small numbers.
def small(top, times, link_parts):
    TIMES[:] = times
    os.makedirs(top + "/special")
    os.chdir(top + "/special")
    names = [b"a", b"UPPER", b"x" * 250, "ünïcödé 中 😀".encode(), b"not \xff\xfe UTF-8", b"back\\slash", b"a;1", b".hidden", b"dot."]
    for n, name in enumerate(names):
        write(name, name * 100, n)
    os.mkfifo("fifo", 0o620)
    os.mknod("char", 0o20640, os.makedev(4, 200))
    os.mknod("block", 0o60660, os.makedev(259, 70000))
    socket.socket(socket.AF_UNIX).bind("socket")
    targets = ["/", "/usr/bin", "..", "../..", ".", "./a", "a/../b", "x" * 150, "/".join(["a part"] * link_parts)]
    for n, target in enumerate(targets):
        os.symlink(target, "link %d" % n)
    write("hard 1", b"two names")
    os.link("hard 1", "hard 2")
    write("empty", b"")
    write("large", rnd.randbytes(3_000_000))
    for name in ["fifo", "char", "block", "socket"] + ["link %d" % n for n in range(len(targets))]:
        os.utime(name, (0, 10**9), follow_symlinks=False)
    os.chdir("../..")
    deep = top + "/deep"
    for n in range(30):
        deep += "/level %d" % n
        os.makedirs(deep)
        write(deep + "/file", b"%d" % n, n)
    touched(top)

small("small", [-2000000000, -1, 0, 10**9, 2**31, 4102444800, 4600000000], 130)
# It spoils long links, too.
small("old", OLD, 20)

# What plain ISO 9660 of level 1 can name without changing it.
for n in range(100):
    folder = "plain/dir%d/sub" % (n % 7)
    os.makedirs(folder, exist_ok=True)
    write(folder + "/file%d.dat" % n, b"%d" % n * n)
    write(folder + "/noext%d" % n, b"%d" % n)

# What Joliet can name.
for n in range(200):
    folder = "joliet/Größe %d 中" % (n % 9)
    os.makedirs(folder, exist_ok=True)
    write(folder + "/Ein langer Name mit Ümläuten %d.text" % n, b"%d" % n * n, 3)

# What can be compressed, and what cannot.
os.makedirs("packed")
for n, size in enumerate([1, 32767, 32768, 32769, 500_000, 0, 40]):
    write("packed/text %d" % size, (b"many words, %d again and again. " % n * (size // 20 + 1))[:size])
write("packed/random", rnd.randbytes(100_000))
write("packed/zeros", bytes(1 << 20))
write("packed/zeros and text", bytes(200_000) + b"text" * 10_000 + bytes(100_000))
for top in ["main", "plain", "joliet", "packed"]:
    touched(top)
EOF

# truth IMAGE TREE FIELD...: the tree is what must be found, without what the form cannot hold
truth() {
    python3 "$here/listing.py" "$scratch/$2" xattrs "${@:3}" >"$1.img.truth"
}

# 55 000 nodes, 50 000 in one folder
rm -f iso-*.img
genisoimage -quiet -R -o iso-main.img "$scratch/main" 2>/dev/null
truth iso-main main
# Rock Ridge of two writers: one moves folders that lie too deep, the other does not
genisoimage -quiet -R -cache-inodes -hide-rr-moved -o iso-moved.img "$scratch/old" 2>/dev/null
truth iso-moved old
xorriso -outdev stdio:iso-small.img -hardlinks on -map "$scratch/small" / 2>/dev/null
truth iso-small small
# Rock Ridge with Joliet and UDF beside it
genisoimage -quiet -R -J -joliet-long -udf -input-charset utf-8 -o iso-udf.img "$scratch/joliet" 2>/dev/null
truth iso-udf joliet
# No Rock Ridge: Joliet, and plain names
genisoimage -quiet -J -joliet-long -input-charset utf-8 -o iso-joliet.img "$scratch/joliet" 2>/dev/null
truth iso-joliet joliet mode uid gid links
genisoimage -quiet -o iso-plain.img "$scratch/plain" 2>/dev/null
truth iso-plain plain mode uid gid links
# Compressed files
mkzftree "$scratch/packed" "$scratch/zf"
genisoimage -quiet -R -z -o iso-zisofs.img "$scratch/zf" 2>/dev/null
truth iso-zisofs packed

# The folder that the moved ones are in; Linux shows it, too.
printf '.rr_moved\td\t0\t-\t-\t-\t-\t-\t\t\t\n' >>iso-moved.img.truth
for name in joliet plain; do
    rm -rf "$scratch/x"
    7z x -bd -o"$scratch/x" "iso-$name.img" >/dev/null
    python3 "$here/listing.py" "$scratch/x" xattrs mode uid gid links | awk -F'\t' -v OFS='\t' '$2 == "d" { $4 = "-" } { if (plain) $1 = tolower($1); print }' plain="${name#joliet}" >"$scratch/found"
    python3 "$here/compare.py" "iso-$name.img.truth" "$scratch/found"
done
