# A listener of the host: perl listen.pl KIND WHERE LOG. Answers one byte to each, and notes it in LOG.
use strict;
use IO::Handle;
use Socket qw(:all);
my ($kind, $where, $log) = @ARGV;
open(my $notes, ">>", $log) or die;
$notes->autoflush(1);
chroot(".") && chdir("/") or die if $kind eq "chrooted";
my ($family, $type) = $kind =~ /6$/ ? (AF_INET6) : $kind =~ /^(tcp|udp)/ ? (AF_INET) : (AF_UNIX);
$type = $kind =~ /^udp/ ? SOCK_DGRAM : SOCK_STREAM;
socket(my $s, $family, $type, 0) or die;
setsockopt($s, IPPROTO_IPV6, IPV6_V6ONLY, 1) if $family == AF_INET6;
my $at = $family == AF_INET ? pack_sockaddr_in($where, INADDR_ANY)
    : $family == AF_INET6 ? pack_sockaddr_in6($where, IN6ADDR_ANY)
    : $kind eq "abstract" ? pack("S a*", AF_UNIX, "\0$where") : pack_sockaddr_un($where);
bind($s, $at) or die "$kind: $!";
listen($s, 8) or die if $type != SOCK_DGRAM;
print $notes "ready\n";
$SIG{PIPE} = 'IGNORE';
if ($type == SOCK_DGRAM) {
    while (defined(my $peer = recv($s, my $b, 1, 0))) { print $notes "hit\n"; send($s, "y", 0, $peer) }
} else {
    while (accept(my $c, $s)) { print $notes "hit\n"; syswrite($c, "y"); close $c }
}
