# What a program in a copy may try, one line of output each: "NAME blocked" or "NAME REACHED".
# Arguments NAME=VALUE: v4 v6 port abstract pid secret key device. Perl, because every Debian has it.
use strict;
use Socket qw(:all);
$| = 1;
$SIG{PIPE} = 'IGNORE';
my %is = map { split /=/, $_, 2 } @ARGV;
sub said { my ($name, $reached) = @_; print "$name ", ($reached ? "REACHED" : "blocked"), "\n" }
sub try_in_time { my ($code) = @_; my $r; eval { local $SIG{ALRM} = sub { die }; alarm 3; $r = $code->(); alarm 0; 1 } or $r = 0; $r }

sub tcp { my ($family, $address) = @_; try_in_time(sub {
    socket(my $s, $family, SOCK_STREAM, 0) or return 0;
    connect($s, $address) or return 0;
    sysread($s, my $b, 1) }) }
sub udp { my ($family, $address) = @_; try_in_time(sub {
    socket(my $s, $family, SOCK_DGRAM, 0) or return 0;
    send($s, "x", 0, $address) or return 0;
    my ($in, $out, $b) = (''); vec($in, fileno($s), 1) = 1;
    select($out = $in, undef, undef, 0.5) && defined recv($s, $b, 1, 0) && length $b }) }
sub v4 { pack_sockaddr_in($_[1] // $is{port}, inet_aton($_[0])) }
sub v6 { pack_sockaddr_in6($_[1] // $is{port}, inet_pton(AF_INET6, $_[0])) }

said("tcp-loopback", tcp(AF_INET, v4("127.0.0.1")));
said("tcp-address", tcp(AF_INET, v4($is{v4})));
said("tcp6-loopback", tcp(AF_INET6, v6("::1")));
said("tcp6-address", tcp(AF_INET6, v6($is{v6})));
said("udp-loopback", udp(AF_INET, v4("127.0.0.1")));
said("udp-address", udp(AF_INET, v4($is{v4})));
said("udp6-address", udp(AF_INET6, v6($is{v6})));
my $abstract = try_in_time(sub { socket(my $s, AF_UNIX, SOCK_STREAM, 0); connect($s, pack("S a*", AF_UNIX, "\0$is{abstract}")) && sysread($s, my $b, 1) });
said("unix-abstract", $abstract);
for my $path (qw(absolute relative chrooted)) {
    said("unix-$path", try_in_time(sub { socket(my $s, AF_UNIX, SOCK_STREAM, 0); connect($s, pack_sockaddr_un("/srv/$path.sock")) && sysread($s, my $b, 1) }));
}
exit 0 if $is{only} eq "listeners";

said("dns-loopback", udp(AF_INET, v4("127.0.0.53", 53)));
said("dns-name", try_in_time(sub { scalar gethostbyname("deb.debian.org") && tcp(AF_INET, v4("deb.debian.org", 80)) }));
said("link-local", tcp(AF_INET, v4("169.254.169.254", 80)));
said("interfaces", grep { !/^(lo|sit0|tunl0|ip6tnl0|gre0|gretap0|erspan0|ip_vti0|ip6_vti0|ip6gre0)$/ } map { s{.*/}{}r } glob("/sys/class/net/*"));
said("routes", `ip -4 route show table main 2>/dev/null` . `ip -6 route show table main 2>/dev/null | grep -v 'dev lo'` =~ /\S/);
# A packet socket sees and sends frames: only on the copy's own loopback.
said("packet-socket", try_in_time(sub { socket(my $s, 17, SOCK_RAW, 0x0300) or return 0; send($s, "x" x 60, 0, pack("S n l S C C a8", 17, 0x0800, 2, 0, 0, 6, "\0" x 8)) }));
said("raw-socket", try_in_time(sub { socket(my $s, AF_INET, SOCK_RAW, 1) or return 0; send($s, pack("C2 n3", 8, 0, 0xf7ff, 0, 0), 0, v4($is{v4}, 0)) }));

sub proxy { my ($request, $good) = @_; try_in_time(sub {
    socket(my $s, AF_INET, SOCK_STREAM, 0); connect($s, v4("127.0.0.1", 3142)) or return 0;
    syswrite($s, "$request\r\n\r\n"); sysread($s, my $b, 12); $b =~ m{^HTTP/1.. 2} }) }
said("proxy-unlisted", proxy("GET http://mirror.not-listed.example/ HTTP/1.1\r\nHost: mirror.not-listed.example"));
said("proxy-connect-loopback", proxy("CONNECT 127.0.0.1:$is{port} HTTP/1.1\r\nHost: 127.0.0.1:$is{port}"));
said("proxy-connect-address", proxy("CONNECT $is{v4}:$is{port} HTTP/1.1\r\nHost: $is{v4}:$is{port}"));
said("proxy-get-address", proxy("GET http://$is{v4}:$is{port}/ HTTP/1.1\r\nHost: $is{v4}:$is{port}"));

said("signal", kill(0, $is{pid}));
said("ptrace", -e "/proc/$is{pid}/mem" && open(my $m, "+<", "/proc/$is{pid}/mem"));
said("shared-memory", defined shmget($is{key}, 0, 0));
for my $way ("", "/run/host", map { m{^(/proc/\d+)/} && ("$1/root", "$1/cwd") } glob("/proc/[0-9]*/root")) {
    if (open(my $f, "<", "$way$is{secret}")) { said("secret $way", 1) }
}
said("secret", 0);
my ($major, $minor) = split /:/, $is{device};
sub node { my ($kind, $major, $minor) = @_; unlink "/root/node"; system("mknod", "/root/node", $kind, $major, $minor) == 0 }
sub opens { my ($mode) = @_; my $f; open($f, $mode, "/root/node") && ($mode eq "+<" || sysread($f, my $b, 512)) }
said("disk-read", node("b", $major, $minor) && opens("<"));
said("disk-write", node("b", $major, $minor) && opens("+<"));
said("disk-mount", system("mount -t auto /root/node /mnt 2>/dev/null") == 0);
said("kernel-memory", node("c", 1, 1) && opens("<"));
said("loop-control", node("c", 10, 237) && opens("+<"));
said("fuse", node("c", 10, 229) && opens("+<"));
said("kvm", node("c", 10, 232) && opens("+<"));
unlink "/root/node";
sub writes { my ($path) = @_; my $old = `cat $path 2>/dev/null`; open(my $f, ">", $path) or return 0; syswrite($f, length $old ? $old : "0\n") }
for my $path (qw(/proc/sys/kernel/core_pattern /proc/sys/kernel/panic /proc/sys/vm/swappiness /proc/sys/fs/file-max
    /proc/sysrq-trigger /sys/kernel/mm/transparent_hugepage/enabled /sys/power/state /sys/kernel/uevent_helper /sys/module/loop/parameters/max_loop)) {
    said("write $path", $path =~ /sysrq/ ? open(my $f, ">", $path) : writes($path));
}
said("kernel-log", system("dmesg >/dev/null 2>&1") == 0 && -s "/dev/kmsg");
said("clock", system('date -s "$(date)" >/dev/null 2>&1') == 0);
# init_module with nothing: not permitted is EPERM (1); permitted would be another error.
syscall(175, 0, 0, 0); said("module", $! + 0 != 1);
# swapon, iopl, kexec_load, bpf, perf: the kernel's own doors.
syscall(167, my $nothing = "/root/none", 0); said("swapon", $! + 0 != 1);
syscall(172, 3); said("iopl", $! + 0 != 1 && $! + 0 != 38);
syscall(246, 0, 0, 0, 0); said("kexec", $! + 0 != 1);
# The file handle of the root directory of the file system that /run/host/os-release is on (ext4: inode 2).
if (open(my $f, "<", "/run/host/os-release")) {
    my $handle = pack("L l L L", 8, 1, 2, 0);
    my $fd = syscall(304, fileno($f), $handle, 0);
    said("file-handle", $fd >= 0);
} else { said("file-handle", 0) }
# Its own network sysctls are the copy's own: allowed, and the host's must not follow.
system("echo 1 > /proc/sys/net/ipv4/ip_forward 2>/dev/null; nft add table inet copy 2>/dev/null; ip link add own type dummy 2>/dev/null");
print "done\n";
