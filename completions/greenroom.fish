# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_greenroom_global_optspecs
    string join \n root= state= json q/quiet on= local progress= h/help V/version
end

function __fish_greenroom_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_greenroom_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_greenroom_using_subcommand
    set -l cmd (__fish_greenroom_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c greenroom -n "__fish_greenroom_needs_command" -l root -d 'The root of the host\'s tree: `/`, or that of a container or a chroot' -r -F
complete -c greenroom -n "__fish_greenroom_needs_command" -l state -d 'Where rehearsals, contents and the ledger are kept' -r -F
complete -c greenroom -n "__fish_greenroom_needs_command" -l on -d 'Do it on these hosts of the control plane: web1, web1,web2 or all; with a system file also role:web and service:shop, and ! in front takes out. Without a control plane, or with --local, everything is about this host' -r
complete -c greenroom -n "__fish_greenroom_needs_command" -l progress -d 'How to tell what goes on across hosts' -r -f -a "text\t'Lines for people, on standard error'
json\t'One JSON object a line, on standard output'
none\t'Not at all'"
complete -c greenroom -n "__fish_greenroom_needs_command" -l json -d 'Print one JSON object on standard output'
complete -c greenroom -n "__fish_greenroom_needs_command" -s q -l quiet -d 'Nothing on standard error but errors'
complete -c greenroom -n "__fish_greenroom_needs_command" -l local -d 'Do it on this host although a control plane is known'
complete -c greenroom -n "__fish_greenroom_needs_command" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c greenroom -n "__fish_greenroom_needs_command" -s V -l version -d 'Print version'
complete -c greenroom -n "__fish_greenroom_needs_command" -f -a "rehearse" -d 'Run a change for real on a copy of this host and see what it does'
complete -c greenroom -n "__fish_greenroom_needs_command" -f -a "hotfix" -d 'Work at a shell on a copy of this host, see what you did, then apply it or drop it'
complete -c greenroom -n "__fish_greenroom_needs_command" -f -a "show" -d 'Show what a rehearsal or a change does, path by path'
complete -c greenroom -n "__fish_greenroom_needs_command" -f -a "apply" -d 'Put a rehearsed change live: exactly what was captured, only where the host is as rehearsed'
complete -c greenroom -n "__fish_greenroom_needs_command" -f -a "undo" -d 'Take a change back'
complete -c greenroom -n "__fish_greenroom_needs_command" -f -a "log" -d 'The ledger: everything that happened, oldest first'
complete -c greenroom -n "__fish_greenroom_needs_command" -f -a "status" -d 'Say in how many places this host differs from its record: what, since when, by whom'
complete -c greenroom -n "__fish_greenroom_needs_command" -f -a "drift" -d 'Show the differences from the record; the exit status is 1 when there are any'
complete -c greenroom -n "__fish_greenroom_needs_command" -f -a "adopt" -d 'Make differences part of the record: a change like any other, with its undo'
complete -c greenroom -n "__fish_greenroom_needs_command" -f -a "revert" -d 'Take differences back: what is on record comes back to the host'
complete -c greenroom -n "__fish_greenroom_needs_command" -f -a "diff" -d 'What differs between two systems, what most likely matters first'
complete -c greenroom -n "__fish_greenroom_needs_command" -f -a "manifest" -d 'All that `diff` needs to know of this host, on standard output: compare it elsewhere, or later'
complete -c greenroom -n "__fish_greenroom_needs_command" -f -a "recover" -d 'Finish what a crash interrupted'
complete -c greenroom -n "__fish_greenroom_needs_command" -f -a "gc" -d 'Drop what nothing needs any more; never what an undo may need, unless you give that up'
complete -c greenroom -n "__fish_greenroom_needs_command" -f -a "watch" -d 'Watch this host\'s files and note every change with who made it; `greenroom install` runs it as a service'
complete -c greenroom -n "__fish_greenroom_needs_command" -f -a "init" -d 'Write a commented greenroom.toml into this directory, from what this host says of itself'
complete -c greenroom -n "__fish_greenroom_needs_command" -f -a "check" -d 'Say what is wrong with a system file, or what it means'
complete -c greenroom -n "__fish_greenroom_needs_command" -f -a "install" -d 'Set up the services on this host: the watch, and a daily scrub'
complete -c greenroom -n "__fish_greenroom_needs_command" -f -a "uninstall" -d 'Remove the services that `install` set up; records and the ledger stay'
complete -c greenroom -n "__fish_greenroom_needs_command" -f -a "doctor" -d 'Say what of the environment is missing, with the command that mends it'
complete -c greenroom -n "__fish_greenroom_needs_command" -f -a "serve" -d 'Run the control plane of many hosts on this machine'
complete -c greenroom -n "__fish_greenroom_needs_command" -f -a "join" -d 'Let a host in, over your own SSH; afterwards no SSH is needed'
complete -c greenroom -n "__fish_greenroom_needs_command" -f -a "enrol" -d 'Let this host in, with an invitation on standard input; `join` does it'
complete -c greenroom -n "__fish_greenroom_needs_command" -f -a "agent" -d 'Do on this host what the control plane sends; `greenroom install --agent` runs it as a service'
complete -c greenroom -n "__fish_greenroom_needs_command" -f -a "follow" -d 'Follow a rehearsal or a change across hosts until it is over'
complete -c greenroom -n "__fish_greenroom_needs_command" -f -a "continue" -d 'Go on with a change across hosts that is paused'
complete -c greenroom -n "__fish_greenroom_needs_command" -f -a "abort" -d 'Take back a change across hosts that is under way'
complete -c greenroom -n "__fish_greenroom_needs_command" -f -a "approve" -d 'Say as a second person that a rehearsal across hosts may be applied'
complete -c greenroom -n "__fish_greenroom_needs_command" -f -a "system" -d 'The system file of the control plane'
complete -c greenroom -n "__fish_greenroom_needs_command" -f -a "image" -d 'Images of hosts at the control plane: all that a host is, but for data and what is volatile'
complete -c greenroom -n "__fish_greenroom_needs_command" -f -a "rebuild" -d 'Make a fresh host what another one is on record, with its own name, keys and addresses'
complete -c greenroom -n "__fish_greenroom_needs_command" -f -a "token" -d 'People of the control plane'
complete -c greenroom -n "__fish_greenroom_needs_command" -f -a "login" -d 'Send commands to a control plane from now on; the token comes on standard input'
complete -c greenroom -n "__fish_greenroom_needs_command" -f -a "completions" -d 'Print the completions for a shell'
complete -c greenroom -n "__fish_greenroom_needs_command" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c greenroom -n "__fish_greenroom_using_subcommand rehearse" -l boot -d 'Whether the copy is booted, so that its own services run in it' -r -f -a "auto\t'When the tree has systemd'
yes\t'Always'
no\t'Never'"
complete -c greenroom -n "__fish_greenroom_using_subcommand rehearse" -l net -d 'What the copy can reach: the host\'s package sources, nothing, or all that the host can (not isolated)' -r -f -a "packages\t'The package sources that the host is configured to use'
none\t'Nothing'
host\t'Everything the host can: the copy is not isolated'"
complete -c greenroom -n "__fish_greenroom_using_subcommand rehearse" -l allow -d 'Let the copy reach this destination too; without a port 80 and 443' -r
complete -c greenroom -n "__fish_greenroom_using_subcommand rehearse" -l test -d 'A shell command that must succeed once the change is in place' -r
complete -c greenroom -n "__fish_greenroom_using_subcommand rehearse" -l timeout -d 'Kill a command or step after this time (30s, 5m, 1h30m)' -r
complete -c greenroom -n "__fish_greenroom_using_subcommand rehearse" -l name -d 'What to call it' -r
complete -c greenroom -n "__fish_greenroom_using_subcommand rehearse" -l why -d 'Why it is done: goes to the ledger' -r
complete -c greenroom -n "__fish_greenroom_using_subcommand rehearse" -l share -d 'Share of this machine\'s cores and memory that a copy may take (where systemd runs the machine)' -r
complete -c greenroom -n "__fish_greenroom_using_subcommand rehearse" -l stage -d 'With --on: on copies of the hosts\' images, on the host that is the stage, instead of on the hosts themselves. HOST where the system file says of none that it is one; `no`: on the hosts although there is one' -r
complete -c greenroom -n "__fish_greenroom_using_subcommand rehearse" -l root -d 'The root of the host\'s tree: `/`, or that of a container or a chroot' -r -F
complete -c greenroom -n "__fish_greenroom_using_subcommand rehearse" -l state -d 'Where rehearsals, contents and the ledger are kept' -r -F
complete -c greenroom -n "__fish_greenroom_using_subcommand rehearse" -l on -d 'Do it on these hosts of the control plane: web1, web1,web2 or all; with a system file also role:web and service:shop, and ! in front takes out. Without a control plane, or with --local, everything is about this host' -r
complete -c greenroom -n "__fish_greenroom_using_subcommand rehearse" -l progress -d 'How to tell what goes on across hosts' -r -f -a "text\t'Lines for people, on standard error'
json\t'One JSON object a line, on standard output'
none\t'Not at all'"
complete -c greenroom -n "__fish_greenroom_using_subcommand rehearse" -l no-standing-tests -d 'Leave out the host\'s standing tests, in /etc/greenroom/tests.d'
complete -c greenroom -n "__fish_greenroom_using_subcommand rehearse" -l shell -d 'A shell on the copy instead of a command'
complete -c greenroom -n "__fish_greenroom_using_subcommand rehearse" -l keep -d 'Leave what the copy wrote where it is, until you delete it'
complete -c greenroom -n "__fish_greenroom_using_subcommand rehearse" -l json -d 'Print one JSON object on standard output'
complete -c greenroom -n "__fish_greenroom_using_subcommand rehearse" -s q -l quiet -d 'Nothing on standard error but errors'
complete -c greenroom -n "__fish_greenroom_using_subcommand rehearse" -l local -d 'Do it on this host although a control plane is known'
complete -c greenroom -n "__fish_greenroom_using_subcommand rehearse" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c greenroom -n "__fish_greenroom_using_subcommand hotfix" -l test -d 'A shell command that must succeed once the change is in place' -r
complete -c greenroom -n "__fish_greenroom_using_subcommand hotfix" -l change -d 'Take the tests and the [apply] table of this change file; its steps are not run' -r -F
complete -c greenroom -n "__fish_greenroom_using_subcommand hotfix" -l why -d 'Why it is done: goes to the ledger. Otherwise it is asked before applying' -r
complete -c greenroom -n "__fish_greenroom_using_subcommand hotfix" -l root -d 'The root of the host\'s tree: `/`, or that of a container or a chroot' -r -F
complete -c greenroom -n "__fish_greenroom_using_subcommand hotfix" -l state -d 'Where rehearsals, contents and the ledger are kept' -r -F
complete -c greenroom -n "__fish_greenroom_using_subcommand hotfix" -l on -d 'Do it on these hosts of the control plane: web1, web1,web2 or all; with a system file also role:web and service:shop, and ! in front takes out. Without a control plane, or with --local, everything is about this host' -r
complete -c greenroom -n "__fish_greenroom_using_subcommand hotfix" -l progress -d 'How to tell what goes on across hosts' -r -f -a "text\t'Lines for people, on standard error'
json\t'One JSON object a line, on standard output'
none\t'Not at all'"
complete -c greenroom -n "__fish_greenroom_using_subcommand hotfix" -l no-standing-tests -d 'Leave out the host\'s standing tests, in /etc/greenroom/tests.d'
complete -c greenroom -n "__fish_greenroom_using_subcommand hotfix" -l no-boot -d 'Do not boot the copy: its services do not run'
complete -c greenroom -n "__fish_greenroom_using_subcommand hotfix" -l yes-if-ready -d 'Apply without asking when all tests hold and the way back is proven'
complete -c greenroom -n "__fish_greenroom_using_subcommand hotfix" -l json -d 'Print one JSON object on standard output'
complete -c greenroom -n "__fish_greenroom_using_subcommand hotfix" -s q -l quiet -d 'Nothing on standard error but errors'
complete -c greenroom -n "__fish_greenroom_using_subcommand hotfix" -l local -d 'Do it on this host although a control plane is known'
complete -c greenroom -n "__fish_greenroom_using_subcommand hotfix" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c greenroom -n "__fish_greenroom_using_subcommand show" -l diff -d 'Unified diffs of text files: of all, or of the paths that match PATH (globs work)' -r
complete -c greenroom -n "__fish_greenroom_using_subcommand show" -l root -d 'The root of the host\'s tree: `/`, or that of a container or a chroot' -r -F
complete -c greenroom -n "__fish_greenroom_using_subcommand show" -l state -d 'Where rehearsals, contents and the ledger are kept' -r -F
complete -c greenroom -n "__fish_greenroom_using_subcommand show" -l on -d 'Do it on these hosts of the control plane: web1, web1,web2 or all; with a system file also role:web and service:shop, and ! in front takes out. Without a control plane, or with --local, everything is about this host' -r
complete -c greenroom -n "__fish_greenroom_using_subcommand show" -l progress -d 'How to tell what goes on across hosts' -r -f -a "text\t'Lines for people, on standard error'
json\t'One JSON object a line, on standard output'
none\t'Not at all'"
complete -c greenroom -n "__fish_greenroom_using_subcommand show" -l json -d 'Print one JSON object on standard output'
complete -c greenroom -n "__fish_greenroom_using_subcommand show" -s q -l quiet -d 'Nothing on standard error but errors'
complete -c greenroom -n "__fish_greenroom_using_subcommand show" -l local -d 'Do it on this host although a control plane is known'
complete -c greenroom -n "__fish_greenroom_using_subcommand show" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c greenroom -n "__fish_greenroom_using_subcommand apply" -l why -d 'Why: goes to the ledger' -r
complete -c greenroom -n "__fish_greenroom_using_subcommand apply" -l force-verdict -d 'Apply although the verdict is not `ready`; the reason goes to the ledger' -r
complete -c greenroom -n "__fish_greenroom_using_subcommand apply" -l health -d 'A shell command that must succeed afterwards, or all is taken back' -r
complete -c greenroom -n "__fish_greenroom_using_subcommand apply" -l pause-after -d 'Across hosts: stop and ask after so many batches' -r
complete -c greenroom -n "__fish_greenroom_using_subcommand apply" -l root -d 'The root of the host\'s tree: `/`, or that of a container or a chroot' -r -F
complete -c greenroom -n "__fish_greenroom_using_subcommand apply" -l state -d 'Where rehearsals, contents and the ledger are kept' -r -F
complete -c greenroom -n "__fish_greenroom_using_subcommand apply" -l on -d 'Do it on these hosts of the control plane: web1, web1,web2 or all; with a system file also role:web and service:shop, and ! in front takes out. Without a control plane, or with --local, everything is about this host' -r
complete -c greenroom -n "__fish_greenroom_using_subcommand apply" -l progress -d 'How to tell what goes on across hosts' -r -f -a "text\t'Lines for people, on standard error'
json\t'One JSON object a line, on standard output'
none\t'Not at all'"
complete -c greenroom -n "__fish_greenroom_using_subcommand apply" -l json -d 'Print one JSON object on standard output'
complete -c greenroom -n "__fish_greenroom_using_subcommand apply" -s q -l quiet -d 'Nothing on standard error but errors'
complete -c greenroom -n "__fish_greenroom_using_subcommand apply" -l local -d 'Do it on this host although a control plane is known'
complete -c greenroom -n "__fish_greenroom_using_subcommand apply" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c greenroom -n "__fish_greenroom_using_subcommand undo" -l why -d 'Why: goes to the ledger' -r
complete -c greenroom -n "__fish_greenroom_using_subcommand undo" -l root -d 'The root of the host\'s tree: `/`, or that of a container or a chroot' -r -F
complete -c greenroom -n "__fish_greenroom_using_subcommand undo" -l state -d 'Where rehearsals, contents and the ledger are kept' -r -F
complete -c greenroom -n "__fish_greenroom_using_subcommand undo" -l on -d 'Do it on these hosts of the control plane: web1, web1,web2 or all; with a system file also role:web and service:shop, and ! in front takes out. Without a control plane, or with --local, everything is about this host' -r
complete -c greenroom -n "__fish_greenroom_using_subcommand undo" -l progress -d 'How to tell what goes on across hosts' -r -f -a "text\t'Lines for people, on standard error'
json\t'One JSON object a line, on standard output'
none\t'Not at all'"
complete -c greenroom -n "__fish_greenroom_using_subcommand undo" -l json -d 'Print one JSON object on standard output'
complete -c greenroom -n "__fish_greenroom_using_subcommand undo" -s q -l quiet -d 'Nothing on standard error but errors'
complete -c greenroom -n "__fish_greenroom_using_subcommand undo" -l local -d 'Do it on this host although a control plane is known'
complete -c greenroom -n "__fish_greenroom_using_subcommand undo" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c greenroom -n "__fish_greenroom_using_subcommand log" -s n -l limit -d 'Only the last N entries' -r
complete -c greenroom -n "__fish_greenroom_using_subcommand log" -l root -d 'The root of the host\'s tree: `/`, or that of a container or a chroot' -r -F
complete -c greenroom -n "__fish_greenroom_using_subcommand log" -l state -d 'Where rehearsals, contents and the ledger are kept' -r -F
complete -c greenroom -n "__fish_greenroom_using_subcommand log" -l on -d 'Do it on these hosts of the control plane: web1, web1,web2 or all; with a system file also role:web and service:shop, and ! in front takes out. Without a control plane, or with --local, everything is about this host' -r
complete -c greenroom -n "__fish_greenroom_using_subcommand log" -l progress -d 'How to tell what goes on across hosts' -r -f -a "text\t'Lines for people, on standard error'
json\t'One JSON object a line, on standard output'
none\t'Not at all'"
complete -c greenroom -n "__fish_greenroom_using_subcommand log" -l verify -d 'Check the hash chain'
complete -c greenroom -n "__fish_greenroom_using_subcommand log" -l json -d 'Print one JSON object on standard output'
complete -c greenroom -n "__fish_greenroom_using_subcommand log" -s q -l quiet -d 'Nothing on standard error but errors'
complete -c greenroom -n "__fish_greenroom_using_subcommand log" -l local -d 'Do it on this host although a control plane is known'
complete -c greenroom -n "__fish_greenroom_using_subcommand log" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c greenroom -n "__fish_greenroom_using_subcommand status" -l root -d 'The root of the host\'s tree: `/`, or that of a container or a chroot' -r -F
complete -c greenroom -n "__fish_greenroom_using_subcommand status" -l state -d 'Where rehearsals, contents and the ledger are kept' -r -F
complete -c greenroom -n "__fish_greenroom_using_subcommand status" -l on -d 'Do it on these hosts of the control plane: web1, web1,web2 or all; with a system file also role:web and service:shop, and ! in front takes out. Without a control plane, or with --local, everything is about this host' -r
complete -c greenroom -n "__fish_greenroom_using_subcommand status" -l progress -d 'How to tell what goes on across hosts' -r -f -a "text\t'Lines for people, on standard error'
json\t'One JSON object a line, on standard output'
none\t'Not at all'"
complete -c greenroom -n "__fish_greenroom_using_subcommand status" -l full -d 'Read every file again, also those whose change time says that nothing happened to them'
complete -c greenroom -n "__fish_greenroom_using_subcommand status" -l scrub -d 'Read one part of these files, another each day: in 30 days all of them'
complete -c greenroom -n "__fish_greenroom_using_subcommand status" -l json -d 'Print one JSON object on standard output'
complete -c greenroom -n "__fish_greenroom_using_subcommand status" -s q -l quiet -d 'Nothing on standard error but errors'
complete -c greenroom -n "__fish_greenroom_using_subcommand status" -l local -d 'Do it on this host although a control plane is known'
complete -c greenroom -n "__fish_greenroom_using_subcommand status" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c greenroom -n "__fish_greenroom_using_subcommand drift" -l root -d 'The root of the host\'s tree: `/`, or that of a container or a chroot' -r -F
complete -c greenroom -n "__fish_greenroom_using_subcommand drift" -l state -d 'Where rehearsals, contents and the ledger are kept' -r -F
complete -c greenroom -n "__fish_greenroom_using_subcommand drift" -l on -d 'Do it on these hosts of the control plane: web1, web1,web2 or all; with a system file also role:web and service:shop, and ! in front takes out. Without a control plane, or with --local, everything is about this host' -r
complete -c greenroom -n "__fish_greenroom_using_subcommand drift" -l progress -d 'How to tell what goes on across hosts' -r -f -a "text\t'Lines for people, on standard error'
json\t'One JSON object a line, on standard output'
none\t'Not at all'"
complete -c greenroom -n "__fish_greenroom_using_subcommand drift" -l diff -d 'Unified diffs of text files'
complete -c greenroom -n "__fish_greenroom_using_subcommand drift" -l expand -d 'Every path of what belongs together'
complete -c greenroom -n "__fish_greenroom_using_subcommand drift" -l full -d 'Read every file again, also those whose change time says that nothing happened to them'
complete -c greenroom -n "__fish_greenroom_using_subcommand drift" -l json -d 'Print one JSON object on standard output'
complete -c greenroom -n "__fish_greenroom_using_subcommand drift" -s q -l quiet -d 'Nothing on standard error but errors'
complete -c greenroom -n "__fish_greenroom_using_subcommand drift" -l local -d 'Do it on this host although a control plane is known'
complete -c greenroom -n "__fish_greenroom_using_subcommand drift" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c greenroom -n "__fish_greenroom_using_subcommand adopt" -l group -d 'What belongs together, by its name in `greenroom status`' -r
complete -c greenroom -n "__fish_greenroom_using_subcommand adopt" -s m -l message -l why -d 'Why: goes to the ledger' -r
complete -c greenroom -n "__fish_greenroom_using_subcommand adopt" -l root -d 'The root of the host\'s tree: `/`, or that of a container or a chroot' -r -F
complete -c greenroom -n "__fish_greenroom_using_subcommand adopt" -l state -d 'Where rehearsals, contents and the ledger are kept' -r -F
complete -c greenroom -n "__fish_greenroom_using_subcommand adopt" -l on -d 'Do it on these hosts of the control plane: web1, web1,web2 or all; with a system file also role:web and service:shop, and ! in front takes out. Without a control plane, or with --local, everything is about this host' -r
complete -c greenroom -n "__fish_greenroom_using_subcommand adopt" -l progress -d 'How to tell what goes on across hosts' -r -f -a "text\t'Lines for people, on standard error'
json\t'One JSON object a line, on standard output'
none\t'Not at all'"
complete -c greenroom -n "__fish_greenroom_using_subcommand adopt" -l all -d 'Everything'
complete -c greenroom -n "__fish_greenroom_using_subcommand adopt" -l json -d 'Print one JSON object on standard output'
complete -c greenroom -n "__fish_greenroom_using_subcommand adopt" -s q -l quiet -d 'Nothing on standard error but errors'
complete -c greenroom -n "__fish_greenroom_using_subcommand adopt" -l local -d 'Do it on this host although a control plane is known'
complete -c greenroom -n "__fish_greenroom_using_subcommand adopt" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c greenroom -n "__fish_greenroom_using_subcommand revert" -l group -d 'What belongs together, by its name in `greenroom status`' -r
complete -c greenroom -n "__fish_greenroom_using_subcommand revert" -s m -l why -l message -d 'Why: goes to the ledger' -r
complete -c greenroom -n "__fish_greenroom_using_subcommand revert" -l root -d 'The root of the host\'s tree: `/`, or that of a container or a chroot' -r -F
complete -c greenroom -n "__fish_greenroom_using_subcommand revert" -l state -d 'Where rehearsals, contents and the ledger are kept' -r -F
complete -c greenroom -n "__fish_greenroom_using_subcommand revert" -l on -d 'Do it on these hosts of the control plane: web1, web1,web2 or all; with a system file also role:web and service:shop, and ! in front takes out. Without a control plane, or with --local, everything is about this host' -r
complete -c greenroom -n "__fish_greenroom_using_subcommand revert" -l progress -d 'How to tell what goes on across hosts' -r -f -a "text\t'Lines for people, on standard error'
json\t'One JSON object a line, on standard output'
none\t'Not at all'"
complete -c greenroom -n "__fish_greenroom_using_subcommand revert" -l all -d 'Everything'
complete -c greenroom -n "__fish_greenroom_using_subcommand revert" -l json -d 'Print one JSON object on standard output'
complete -c greenroom -n "__fish_greenroom_using_subcommand revert" -s q -l quiet -d 'Nothing on standard error but errors'
complete -c greenroom -n "__fish_greenroom_using_subcommand revert" -l local -d 'Do it on this host although a control plane is known'
complete -c greenroom -n "__fish_greenroom_using_subcommand revert" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c greenroom -n "__fish_greenroom_using_subcommand diff" -l limit -d 'Show this many differences of each kind' -r
complete -c greenroom -n "__fish_greenroom_using_subcommand diff" -l root -d 'The root of the host\'s tree: `/`, or that of a container or a chroot' -r -F
complete -c greenroom -n "__fish_greenroom_using_subcommand diff" -l state -d 'Where rehearsals, contents and the ledger are kept' -r -F
complete -c greenroom -n "__fish_greenroom_using_subcommand diff" -l on -d 'Do it on these hosts of the control plane: web1, web1,web2 or all; with a system file also role:web and service:shop, and ! in front takes out. Without a control plane, or with --local, everything is about this host' -r
complete -c greenroom -n "__fish_greenroom_using_subcommand diff" -l progress -d 'How to tell what goes on across hosts' -r -f -a "text\t'Lines for people, on standard error'
json\t'One JSON object a line, on standard output'
none\t'Not at all'"
complete -c greenroom -n "__fish_greenroom_using_subcommand diff" -l all -d 'Show all differences, and those that are set aside'
complete -c greenroom -n "__fish_greenroom_using_subcommand diff" -l json -d 'Print one JSON object on standard output'
complete -c greenroom -n "__fish_greenroom_using_subcommand diff" -s q -l quiet -d 'Nothing on standard error but errors'
complete -c greenroom -n "__fish_greenroom_using_subcommand diff" -l local -d 'Do it on this host although a control plane is known'
complete -c greenroom -n "__fish_greenroom_using_subcommand diff" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c greenroom -n "__fish_greenroom_using_subcommand manifest" -l root -d 'The root of the host\'s tree: `/`, or that of a container or a chroot' -r -F
complete -c greenroom -n "__fish_greenroom_using_subcommand manifest" -l state -d 'Where rehearsals, contents and the ledger are kept' -r -F
complete -c greenroom -n "__fish_greenroom_using_subcommand manifest" -l on -d 'Do it on these hosts of the control plane: web1, web1,web2 or all; with a system file also role:web and service:shop, and ! in front takes out. Without a control plane, or with --local, everything is about this host' -r
complete -c greenroom -n "__fish_greenroom_using_subcommand manifest" -l progress -d 'How to tell what goes on across hosts' -r -f -a "text\t'Lines for people, on standard error'
json\t'One JSON object a line, on standard output'
none\t'Not at all'"
complete -c greenroom -n "__fish_greenroom_using_subcommand manifest" -l json -d 'Print one JSON object on standard output'
complete -c greenroom -n "__fish_greenroom_using_subcommand manifest" -s q -l quiet -d 'Nothing on standard error but errors'
complete -c greenroom -n "__fish_greenroom_using_subcommand manifest" -l local -d 'Do it on this host although a control plane is known'
complete -c greenroom -n "__fish_greenroom_using_subcommand manifest" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c greenroom -n "__fish_greenroom_using_subcommand recover" -l root -d 'The root of the host\'s tree: `/`, or that of a container or a chroot' -r -F
complete -c greenroom -n "__fish_greenroom_using_subcommand recover" -l state -d 'Where rehearsals, contents and the ledger are kept' -r -F
complete -c greenroom -n "__fish_greenroom_using_subcommand recover" -l on -d 'Do it on these hosts of the control plane: web1, web1,web2 or all; with a system file also role:web and service:shop, and ! in front takes out. Without a control plane, or with --local, everything is about this host' -r
complete -c greenroom -n "__fish_greenroom_using_subcommand recover" -l progress -d 'How to tell what goes on across hosts' -r -f -a "text\t'Lines for people, on standard error'
json\t'One JSON object a line, on standard output'
none\t'Not at all'"
complete -c greenroom -n "__fish_greenroom_using_subcommand recover" -l json -d 'Print one JSON object on standard output'
complete -c greenroom -n "__fish_greenroom_using_subcommand recover" -s q -l quiet -d 'Nothing on standard error but errors'
complete -c greenroom -n "__fish_greenroom_using_subcommand recover" -l local -d 'Do it on this host although a control plane is known'
complete -c greenroom -n "__fish_greenroom_using_subcommand recover" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c greenroom -n "__fish_greenroom_using_subcommand gc" -l keep -d 'Rehearsals that were never applied are kept when they are among the last N' -r
complete -c greenroom -n "__fish_greenroom_using_subcommand gc" -l undo-older-than -d 'Give up the way back of changes to this host that are older than D (90d, 12w): their before-images go, and they cannot be undone any more' -r
complete -c greenroom -n "__fish_greenroom_using_subcommand gc" -l older-than -d 'With --images: contents that came within the last D stay (1d)' -r
complete -c greenroom -n "__fish_greenroom_using_subcommand gc" -l root -d 'The root of the host\'s tree: `/`, or that of a container or a chroot' -r -F
complete -c greenroom -n "__fish_greenroom_using_subcommand gc" -l state -d 'Where rehearsals, contents and the ledger are kept' -r -F
complete -c greenroom -n "__fish_greenroom_using_subcommand gc" -l on -d 'Do it on these hosts of the control plane: web1, web1,web2 or all; with a system file also role:web and service:shop, and ! in front takes out. Without a control plane, or with --local, everything is about this host' -r
complete -c greenroom -n "__fish_greenroom_using_subcommand gc" -l progress -d 'How to tell what goes on across hosts' -r -f -a "text\t'Lines for people, on standard error'
json\t'One JSON object a line, on standard output'
none\t'Not at all'"
complete -c greenroom -n "__fish_greenroom_using_subcommand gc" -l images -d 'Ask the control plane to drop images of hosts beyond the last three of each, and contents that nothing needs. It does so by itself once a day'
complete -c greenroom -n "__fish_greenroom_using_subcommand gc" -l dry-run -d 'Only say what would go'
complete -c greenroom -n "__fish_greenroom_using_subcommand gc" -l json -d 'Print one JSON object on standard output'
complete -c greenroom -n "__fish_greenroom_using_subcommand gc" -s q -l quiet -d 'Nothing on standard error but errors'
complete -c greenroom -n "__fish_greenroom_using_subcommand gc" -l local -d 'Do it on this host although a control plane is known'
complete -c greenroom -n "__fish_greenroom_using_subcommand gc" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c greenroom -n "__fish_greenroom_using_subcommand watch" -l root -d 'The root of the host\'s tree: `/`, or that of a container or a chroot' -r -F
complete -c greenroom -n "__fish_greenroom_using_subcommand watch" -l state -d 'Where rehearsals, contents and the ledger are kept' -r -F
complete -c greenroom -n "__fish_greenroom_using_subcommand watch" -l on -d 'Do it on these hosts of the control plane: web1, web1,web2 or all; with a system file also role:web and service:shop, and ! in front takes out. Without a control plane, or with --local, everything is about this host' -r
complete -c greenroom -n "__fish_greenroom_using_subcommand watch" -l progress -d 'How to tell what goes on across hosts' -r -f -a "text\t'Lines for people, on standard error'
json\t'One JSON object a line, on standard output'
none\t'Not at all'"
complete -c greenroom -n "__fish_greenroom_using_subcommand watch" -l no-trace -d 'Do not follow processes in the kernel: who ends within moments stays unknown'
complete -c greenroom -n "__fish_greenroom_using_subcommand watch" -l bounded-queue -d 'Keep the kernel\'s queue to `fs.fanotify.max_queued_events`; what does not fit is found by a scan'
complete -c greenroom -n "__fish_greenroom_using_subcommand watch" -l json -d 'Print one JSON object on standard output'
complete -c greenroom -n "__fish_greenroom_using_subcommand watch" -s q -l quiet -d 'Nothing on standard error but errors'
complete -c greenroom -n "__fish_greenroom_using_subcommand watch" -l local -d 'Do it on this host although a control plane is known'
complete -c greenroom -n "__fish_greenroom_using_subcommand watch" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c greenroom -n "__fish_greenroom_using_subcommand init" -l root -d 'The root of the host\'s tree: `/`, or that of a container or a chroot' -r -F
complete -c greenroom -n "__fish_greenroom_using_subcommand init" -l state -d 'Where rehearsals, contents and the ledger are kept' -r -F
complete -c greenroom -n "__fish_greenroom_using_subcommand init" -l on -d 'Do it on these hosts of the control plane: web1, web1,web2 or all; with a system file also role:web and service:shop, and ! in front takes out. Without a control plane, or with --local, everything is about this host' -r
complete -c greenroom -n "__fish_greenroom_using_subcommand init" -l progress -d 'How to tell what goes on across hosts' -r -f -a "text\t'Lines for people, on standard error'
json\t'One JSON object a line, on standard output'
none\t'Not at all'"
complete -c greenroom -n "__fish_greenroom_using_subcommand init" -l force -d 'Replace the file that is there'
complete -c greenroom -n "__fish_greenroom_using_subcommand init" -l json -d 'Print one JSON object on standard output'
complete -c greenroom -n "__fish_greenroom_using_subcommand init" -s q -l quiet -d 'Nothing on standard error but errors'
complete -c greenroom -n "__fish_greenroom_using_subcommand init" -l local -d 'Do it on this host although a control plane is known'
complete -c greenroom -n "__fish_greenroom_using_subcommand init" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c greenroom -n "__fish_greenroom_using_subcommand check" -s e -l environment -d 'What it means in this environment' -r
complete -c greenroom -n "__fish_greenroom_using_subcommand check" -l root -d 'The root of the host\'s tree: `/`, or that of a container or a chroot' -r -F
complete -c greenroom -n "__fish_greenroom_using_subcommand check" -l state -d 'Where rehearsals, contents and the ledger are kept' -r -F
complete -c greenroom -n "__fish_greenroom_using_subcommand check" -l on -d 'Do it on these hosts of the control plane: web1, web1,web2 or all; with a system file also role:web and service:shop, and ! in front takes out. Without a control plane, or with --local, everything is about this host' -r
complete -c greenroom -n "__fish_greenroom_using_subcommand check" -l progress -d 'How to tell what goes on across hosts' -r -f -a "text\t'Lines for people, on standard error'
json\t'One JSON object a line, on standard output'
none\t'Not at all'"
complete -c greenroom -n "__fish_greenroom_using_subcommand check" -l json -d 'Print one JSON object on standard output'
complete -c greenroom -n "__fish_greenroom_using_subcommand check" -s q -l quiet -d 'Nothing on standard error but errors'
complete -c greenroom -n "__fish_greenroom_using_subcommand check" -l local -d 'Do it on this host although a control plane is known'
complete -c greenroom -n "__fish_greenroom_using_subcommand check" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c greenroom -n "__fish_greenroom_using_subcommand install" -l root -d 'The root of the host\'s tree: `/`, or that of a container or a chroot' -r -F
complete -c greenroom -n "__fish_greenroom_using_subcommand install" -l state -d 'Where rehearsals, contents and the ledger are kept' -r -F
complete -c greenroom -n "__fish_greenroom_using_subcommand install" -l on -d 'Do it on these hosts of the control plane: web1, web1,web2 or all; with a system file also role:web and service:shop, and ! in front takes out. Without a control plane, or with --local, everything is about this host' -r
complete -c greenroom -n "__fish_greenroom_using_subcommand install" -l progress -d 'How to tell what goes on across hosts' -r -f -a "text\t'Lines for people, on standard error'
json\t'One JSON object a line, on standard output'
none\t'Not at all'"
complete -c greenroom -n "__fish_greenroom_using_subcommand install" -l no-start -d 'Only write the files: enable and start nothing'
complete -c greenroom -n "__fish_greenroom_using_subcommand install" -l agent -d 'Set up the agent too'
complete -c greenroom -n "__fish_greenroom_using_subcommand install" -l json -d 'Print one JSON object on standard output'
complete -c greenroom -n "__fish_greenroom_using_subcommand install" -s q -l quiet -d 'Nothing on standard error but errors'
complete -c greenroom -n "__fish_greenroom_using_subcommand install" -l local -d 'Do it on this host although a control plane is known'
complete -c greenroom -n "__fish_greenroom_using_subcommand install" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c greenroom -n "__fish_greenroom_using_subcommand uninstall" -l root -d 'The root of the host\'s tree: `/`, or that of a container or a chroot' -r -F
complete -c greenroom -n "__fish_greenroom_using_subcommand uninstall" -l state -d 'Where rehearsals, contents and the ledger are kept' -r -F
complete -c greenroom -n "__fish_greenroom_using_subcommand uninstall" -l on -d 'Do it on these hosts of the control plane: web1, web1,web2 or all; with a system file also role:web and service:shop, and ! in front takes out. Without a control plane, or with --local, everything is about this host' -r
complete -c greenroom -n "__fish_greenroom_using_subcommand uninstall" -l progress -d 'How to tell what goes on across hosts' -r -f -a "text\t'Lines for people, on standard error'
json\t'One JSON object a line, on standard output'
none\t'Not at all'"
complete -c greenroom -n "__fish_greenroom_using_subcommand uninstall" -l json -d 'Print one JSON object on standard output'
complete -c greenroom -n "__fish_greenroom_using_subcommand uninstall" -s q -l quiet -d 'Nothing on standard error but errors'
complete -c greenroom -n "__fish_greenroom_using_subcommand uninstall" -l local -d 'Do it on this host although a control plane is known'
complete -c greenroom -n "__fish_greenroom_using_subcommand uninstall" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c greenroom -n "__fish_greenroom_using_subcommand doctor" -l root -d 'The root of the host\'s tree: `/`, or that of a container or a chroot' -r -F
complete -c greenroom -n "__fish_greenroom_using_subcommand doctor" -l state -d 'Where rehearsals, contents and the ledger are kept' -r -F
complete -c greenroom -n "__fish_greenroom_using_subcommand doctor" -l on -d 'Do it on these hosts of the control plane: web1, web1,web2 or all; with a system file also role:web and service:shop, and ! in front takes out. Without a control plane, or with --local, everything is about this host' -r
complete -c greenroom -n "__fish_greenroom_using_subcommand doctor" -l progress -d 'How to tell what goes on across hosts' -r -f -a "text\t'Lines for people, on standard error'
json\t'One JSON object a line, on standard output'
none\t'Not at all'"
complete -c greenroom -n "__fish_greenroom_using_subcommand doctor" -l json -d 'Print one JSON object on standard output'
complete -c greenroom -n "__fish_greenroom_using_subcommand doctor" -s q -l quiet -d 'Nothing on standard error but errors'
complete -c greenroom -n "__fish_greenroom_using_subcommand doctor" -l local -d 'Do it on this host although a control plane is known'
complete -c greenroom -n "__fish_greenroom_using_subcommand doctor" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c greenroom -n "__fish_greenroom_using_subcommand serve" -l listen -d 'Where to listen' -r
complete -c greenroom -n "__fish_greenroom_using_subcommand serve" -l url -d 'Where hosts and people reach it: https://HOST:7443; several times when there are several' -r
complete -c greenroom -n "__fish_greenroom_using_subcommand serve" -l ledger -d 'Where the ledger and the state are: sqlite:DIRECTORY, or postgres://USER@HOST/DATABASE' -r
complete -c greenroom -n "__fish_greenroom_using_subcommand serve" -l blobs -d 'Where the contents are: dir:DIRECTORY, or s3://BUCKET[/PREFIX][?endpoint=URL]; below the state directory where nothing is said' -r
complete -c greenroom -n "__fish_greenroom_using_subcommand serve" -l root -d 'The root of the host\'s tree: `/`, or that of a container or a chroot' -r -F
complete -c greenroom -n "__fish_greenroom_using_subcommand serve" -l state -d 'Where rehearsals, contents and the ledger are kept' -r -F
complete -c greenroom -n "__fish_greenroom_using_subcommand serve" -l on -d 'Do it on these hosts of the control plane: web1, web1,web2 or all; with a system file also role:web and service:shop, and ! in front takes out. Without a control plane, or with --local, everything is about this host' -r
complete -c greenroom -n "__fish_greenroom_using_subcommand serve" -l progress -d 'How to tell what goes on across hosts' -r -f -a "text\t'Lines for people, on standard error'
json\t'One JSON object a line, on standard output'
none\t'Not at all'"
complete -c greenroom -n "__fish_greenroom_using_subcommand serve" -l json -d 'Print one JSON object on standard output'
complete -c greenroom -n "__fish_greenroom_using_subcommand serve" -s q -l quiet -d 'Nothing on standard error but errors'
complete -c greenroom -n "__fish_greenroom_using_subcommand serve" -l local -d 'Do it on this host although a control plane is known'
complete -c greenroom -n "__fish_greenroom_using_subcommand serve" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c greenroom -n "__fish_greenroom_using_subcommand join" -l as -d 'Its name in the system, where that is another one' -r
complete -c greenroom -n "__fish_greenroom_using_subcommand join" -l ssh-config -d 'The file of ssh\'s configuration' -r -F
complete -c greenroom -n "__fish_greenroom_using_subcommand join" -l ssh-option -d 'An option for ssh, as after its -o' -r
complete -c greenroom -n "__fish_greenroom_using_subcommand join" -l program -d 'The program to bring there, where this one does not run there' -r -F
complete -c greenroom -n "__fish_greenroom_using_subcommand join" -l root -d 'The root of the host\'s tree: `/`, or that of a container or a chroot' -r -F
complete -c greenroom -n "__fish_greenroom_using_subcommand join" -l state -d 'Where rehearsals, contents and the ledger are kept' -r -F
complete -c greenroom -n "__fish_greenroom_using_subcommand join" -l on -d 'Do it on these hosts of the control plane: web1, web1,web2 or all; with a system file also role:web and service:shop, and ! in front takes out. Without a control plane, or with --local, everything is about this host' -r
complete -c greenroom -n "__fish_greenroom_using_subcommand join" -l progress -d 'How to tell what goes on across hosts' -r -f -a "text\t'Lines for people, on standard error'
json\t'One JSON object a line, on standard output'
none\t'Not at all'"
complete -c greenroom -n "__fish_greenroom_using_subcommand join" -l again -d 'Enrol it again although it is in touch'
complete -c greenroom -n "__fish_greenroom_using_subcommand join" -l invite -d 'Only print an invitation, for `greenroom enrol` on that host'
complete -c greenroom -n "__fish_greenroom_using_subcommand join" -l cloud-init -d 'Only print user data with which a fresh machine of any cloud enrols itself'
complete -c greenroom -n "__fish_greenroom_using_subcommand join" -l json -d 'Print one JSON object on standard output'
complete -c greenroom -n "__fish_greenroom_using_subcommand join" -s q -l quiet -d 'Nothing on standard error but errors'
complete -c greenroom -n "__fish_greenroom_using_subcommand join" -l local -d 'Do it on this host although a control plane is known'
complete -c greenroom -n "__fish_greenroom_using_subcommand join" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c greenroom -n "__fish_greenroom_using_subcommand enrol" -l root -d 'The root of the host\'s tree: `/`, or that of a container or a chroot' -r -F
complete -c greenroom -n "__fish_greenroom_using_subcommand enrol" -l state -d 'Where rehearsals, contents and the ledger are kept' -r -F
complete -c greenroom -n "__fish_greenroom_using_subcommand enrol" -l on -d 'Do it on these hosts of the control plane: web1, web1,web2 or all; with a system file also role:web and service:shop, and ! in front takes out. Without a control plane, or with --local, everything is about this host' -r
complete -c greenroom -n "__fish_greenroom_using_subcommand enrol" -l progress -d 'How to tell what goes on across hosts' -r -f -a "text\t'Lines for people, on standard error'
json\t'One JSON object a line, on standard output'
none\t'Not at all'"
complete -c greenroom -n "__fish_greenroom_using_subcommand enrol" -l json -d 'Print one JSON object on standard output'
complete -c greenroom -n "__fish_greenroom_using_subcommand enrol" -s q -l quiet -d 'Nothing on standard error but errors'
complete -c greenroom -n "__fish_greenroom_using_subcommand enrol" -l local -d 'Do it on this host although a control plane is known'
complete -c greenroom -n "__fish_greenroom_using_subcommand enrol" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c greenroom -n "__fish_greenroom_using_subcommand agent; and not __fish_seen_subcommand_from look back upgrade help" -l root -d 'The root of the host\'s tree: `/`, or that of a container or a chroot' -r -F
complete -c greenroom -n "__fish_greenroom_using_subcommand agent; and not __fish_seen_subcommand_from look back upgrade help" -l state -d 'Where rehearsals, contents and the ledger are kept' -r -F
complete -c greenroom -n "__fish_greenroom_using_subcommand agent; and not __fish_seen_subcommand_from look back upgrade help" -l on -d 'Do it on these hosts of the control plane: web1, web1,web2 or all; with a system file also role:web and service:shop, and ! in front takes out. Without a control plane, or with --local, everything is about this host' -r
complete -c greenroom -n "__fish_greenroom_using_subcommand agent; and not __fish_seen_subcommand_from look back upgrade help" -l progress -d 'How to tell what goes on across hosts' -r -f -a "text\t'Lines for people, on standard error'
json\t'One JSON object a line, on standard output'
none\t'Not at all'"
complete -c greenroom -n "__fish_greenroom_using_subcommand agent; and not __fish_seen_subcommand_from look back upgrade help" -l json -d 'Print one JSON object on standard output'
complete -c greenroom -n "__fish_greenroom_using_subcommand agent; and not __fish_seen_subcommand_from look back upgrade help" -s q -l quiet -d 'Nothing on standard error but errors'
complete -c greenroom -n "__fish_greenroom_using_subcommand agent; and not __fish_seen_subcommand_from look back upgrade help" -l local -d 'Do it on this host although a control plane is known'
complete -c greenroom -n "__fish_greenroom_using_subcommand agent; and not __fish_seen_subcommand_from look back upgrade help" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c greenroom -n "__fish_greenroom_using_subcommand agent; and not __fish_seen_subcommand_from look back upgrade help" -f -a "look" -d 'Print how this host is, in short, as its agent tells it'
complete -c greenroom -n "__fish_greenroom_using_subcommand agent; and not __fish_seen_subcommand_from look back upgrade help" -f -a "back" -d 'Put the program from before back, unless the new one is in touch; the guard of an upgrade runs it'
complete -c greenroom -n "__fish_greenroom_using_subcommand agent; and not __fish_seen_subcommand_from look back upgrade help" -f -a "upgrade" -d 'Run another program as the agent of hosts (all, or those of --on): one host first, then the rest'
complete -c greenroom -n "__fish_greenroom_using_subcommand agent; and not __fish_seen_subcommand_from look back upgrade help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c greenroom -n "__fish_greenroom_using_subcommand agent; and __fish_seen_subcommand_from look" -l root -d 'The root of the host\'s tree: `/`, or that of a container or a chroot' -r -F
complete -c greenroom -n "__fish_greenroom_using_subcommand agent; and __fish_seen_subcommand_from look" -l state -d 'Where rehearsals, contents and the ledger are kept' -r -F
complete -c greenroom -n "__fish_greenroom_using_subcommand agent; and __fish_seen_subcommand_from look" -l on -d 'Do it on these hosts of the control plane: web1, web1,web2 or all; with a system file also role:web and service:shop, and ! in front takes out. Without a control plane, or with --local, everything is about this host' -r
complete -c greenroom -n "__fish_greenroom_using_subcommand agent; and __fish_seen_subcommand_from look" -l progress -d 'How to tell what goes on across hosts' -r -f -a "text\t'Lines for people, on standard error'
json\t'One JSON object a line, on standard output'
none\t'Not at all'"
complete -c greenroom -n "__fish_greenroom_using_subcommand agent; and __fish_seen_subcommand_from look" -l json -d 'Print one JSON object on standard output'
complete -c greenroom -n "__fish_greenroom_using_subcommand agent; and __fish_seen_subcommand_from look" -s q -l quiet -d 'Nothing on standard error but errors'
complete -c greenroom -n "__fish_greenroom_using_subcommand agent; and __fish_seen_subcommand_from look" -l local -d 'Do it on this host although a control plane is known'
complete -c greenroom -n "__fish_greenroom_using_subcommand agent; and __fish_seen_subcommand_from look" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c greenroom -n "__fish_greenroom_using_subcommand agent; and __fish_seen_subcommand_from back" -l root -d 'The root of the host\'s tree: `/`, or that of a container or a chroot' -r -F
complete -c greenroom -n "__fish_greenroom_using_subcommand agent; and __fish_seen_subcommand_from back" -l state -d 'Where rehearsals, contents and the ledger are kept' -r -F
complete -c greenroom -n "__fish_greenroom_using_subcommand agent; and __fish_seen_subcommand_from back" -l on -d 'Do it on these hosts of the control plane: web1, web1,web2 or all; with a system file also role:web and service:shop, and ! in front takes out. Without a control plane, or with --local, everything is about this host' -r
complete -c greenroom -n "__fish_greenroom_using_subcommand agent; and __fish_seen_subcommand_from back" -l progress -d 'How to tell what goes on across hosts' -r -f -a "text\t'Lines for people, on standard error'
json\t'One JSON object a line, on standard output'
none\t'Not at all'"
complete -c greenroom -n "__fish_greenroom_using_subcommand agent; and __fish_seen_subcommand_from back" -l json -d 'Print one JSON object on standard output'
complete -c greenroom -n "__fish_greenroom_using_subcommand agent; and __fish_seen_subcommand_from back" -s q -l quiet -d 'Nothing on standard error but errors'
complete -c greenroom -n "__fish_greenroom_using_subcommand agent; and __fish_seen_subcommand_from back" -l local -d 'Do it on this host although a control plane is known'
complete -c greenroom -n "__fish_greenroom_using_subcommand agent; and __fish_seen_subcommand_from back" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c greenroom -n "__fish_greenroom_using_subcommand agent; and __fish_seen_subcommand_from upgrade" -l binary -d 'The program; without one, this program itself' -r -F
complete -c greenroom -n "__fish_greenroom_using_subcommand agent; and __fish_seen_subcommand_from upgrade" -l deb -d 'The program in this Debian package' -r -F
complete -c greenroom -n "__fish_greenroom_using_subcommand agent; and __fish_seen_subcommand_from upgrade" -s m -l why -l message -d 'Why: goes to the ledger' -r
complete -c greenroom -n "__fish_greenroom_using_subcommand agent; and __fish_seen_subcommand_from upgrade" -l pause-after -d 'Stop and ask after so many batches' -r
complete -c greenroom -n "__fish_greenroom_using_subcommand agent; and __fish_seen_subcommand_from upgrade" -l root -d 'The root of the host\'s tree: `/`, or that of a container or a chroot' -r -F
complete -c greenroom -n "__fish_greenroom_using_subcommand agent; and __fish_seen_subcommand_from upgrade" -l state -d 'Where rehearsals, contents and the ledger are kept' -r -F
complete -c greenroom -n "__fish_greenroom_using_subcommand agent; and __fish_seen_subcommand_from upgrade" -l on -d 'Do it on these hosts of the control plane: web1, web1,web2 or all; with a system file also role:web and service:shop, and ! in front takes out. Without a control plane, or with --local, everything is about this host' -r
complete -c greenroom -n "__fish_greenroom_using_subcommand agent; and __fish_seen_subcommand_from upgrade" -l progress -d 'How to tell what goes on across hosts' -r -f -a "text\t'Lines for people, on standard error'
json\t'One JSON object a line, on standard output'
none\t'Not at all'"
complete -c greenroom -n "__fish_greenroom_using_subcommand agent; and __fish_seen_subcommand_from upgrade" -l json -d 'Print one JSON object on standard output'
complete -c greenroom -n "__fish_greenroom_using_subcommand agent; and __fish_seen_subcommand_from upgrade" -s q -l quiet -d 'Nothing on standard error but errors'
complete -c greenroom -n "__fish_greenroom_using_subcommand agent; and __fish_seen_subcommand_from upgrade" -l local -d 'Do it on this host although a control plane is known'
complete -c greenroom -n "__fish_greenroom_using_subcommand agent; and __fish_seen_subcommand_from upgrade" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c greenroom -n "__fish_greenroom_using_subcommand agent; and __fish_seen_subcommand_from help" -f -a "look" -d 'Print how this host is, in short, as its agent tells it'
complete -c greenroom -n "__fish_greenroom_using_subcommand agent; and __fish_seen_subcommand_from help" -f -a "back" -d 'Put the program from before back, unless the new one is in touch; the guard of an upgrade runs it'
complete -c greenroom -n "__fish_greenroom_using_subcommand agent; and __fish_seen_subcommand_from help" -f -a "upgrade" -d 'Run another program as the agent of hosts (all, or those of --on): one host first, then the rest'
complete -c greenroom -n "__fish_greenroom_using_subcommand agent; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c greenroom -n "__fish_greenroom_using_subcommand follow" -l root -d 'The root of the host\'s tree: `/`, or that of a container or a chroot' -r -F
complete -c greenroom -n "__fish_greenroom_using_subcommand follow" -l state -d 'Where rehearsals, contents and the ledger are kept' -r -F
complete -c greenroom -n "__fish_greenroom_using_subcommand follow" -l on -d 'Do it on these hosts of the control plane: web1, web1,web2 or all; with a system file also role:web and service:shop, and ! in front takes out. Without a control plane, or with --local, everything is about this host' -r
complete -c greenroom -n "__fish_greenroom_using_subcommand follow" -l progress -d 'How to tell what goes on across hosts' -r -f -a "text\t'Lines for people, on standard error'
json\t'One JSON object a line, on standard output'
none\t'Not at all'"
complete -c greenroom -n "__fish_greenroom_using_subcommand follow" -l json -d 'Print one JSON object on standard output'
complete -c greenroom -n "__fish_greenroom_using_subcommand follow" -s q -l quiet -d 'Nothing on standard error but errors'
complete -c greenroom -n "__fish_greenroom_using_subcommand follow" -l local -d 'Do it on this host although a control plane is known'
complete -c greenroom -n "__fish_greenroom_using_subcommand follow" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c greenroom -n "__fish_greenroom_using_subcommand continue" -l root -d 'The root of the host\'s tree: `/`, or that of a container or a chroot' -r -F
complete -c greenroom -n "__fish_greenroom_using_subcommand continue" -l state -d 'Where rehearsals, contents and the ledger are kept' -r -F
complete -c greenroom -n "__fish_greenroom_using_subcommand continue" -l on -d 'Do it on these hosts of the control plane: web1, web1,web2 or all; with a system file also role:web and service:shop, and ! in front takes out. Without a control plane, or with --local, everything is about this host' -r
complete -c greenroom -n "__fish_greenroom_using_subcommand continue" -l progress -d 'How to tell what goes on across hosts' -r -f -a "text\t'Lines for people, on standard error'
json\t'One JSON object a line, on standard output'
none\t'Not at all'"
complete -c greenroom -n "__fish_greenroom_using_subcommand continue" -l json -d 'Print one JSON object on standard output'
complete -c greenroom -n "__fish_greenroom_using_subcommand continue" -s q -l quiet -d 'Nothing on standard error but errors'
complete -c greenroom -n "__fish_greenroom_using_subcommand continue" -l local -d 'Do it on this host although a control plane is known'
complete -c greenroom -n "__fish_greenroom_using_subcommand continue" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c greenroom -n "__fish_greenroom_using_subcommand abort" -l root -d 'The root of the host\'s tree: `/`, or that of a container or a chroot' -r -F
complete -c greenroom -n "__fish_greenroom_using_subcommand abort" -l state -d 'Where rehearsals, contents and the ledger are kept' -r -F
complete -c greenroom -n "__fish_greenroom_using_subcommand abort" -l on -d 'Do it on these hosts of the control plane: web1, web1,web2 or all; with a system file also role:web and service:shop, and ! in front takes out. Without a control plane, or with --local, everything is about this host' -r
complete -c greenroom -n "__fish_greenroom_using_subcommand abort" -l progress -d 'How to tell what goes on across hosts' -r -f -a "text\t'Lines for people, on standard error'
json\t'One JSON object a line, on standard output'
none\t'Not at all'"
complete -c greenroom -n "__fish_greenroom_using_subcommand abort" -l json -d 'Print one JSON object on standard output'
complete -c greenroom -n "__fish_greenroom_using_subcommand abort" -s q -l quiet -d 'Nothing on standard error but errors'
complete -c greenroom -n "__fish_greenroom_using_subcommand abort" -l local -d 'Do it on this host although a control plane is known'
complete -c greenroom -n "__fish_greenroom_using_subcommand abort" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c greenroom -n "__fish_greenroom_using_subcommand approve" -l why -d 'Why: goes to the ledger' -r
complete -c greenroom -n "__fish_greenroom_using_subcommand approve" -l root -d 'The root of the host\'s tree: `/`, or that of a container or a chroot' -r -F
complete -c greenroom -n "__fish_greenroom_using_subcommand approve" -l state -d 'Where rehearsals, contents and the ledger are kept' -r -F
complete -c greenroom -n "__fish_greenroom_using_subcommand approve" -l on -d 'Do it on these hosts of the control plane: web1, web1,web2 or all; with a system file also role:web and service:shop, and ! in front takes out. Without a control plane, or with --local, everything is about this host' -r
complete -c greenroom -n "__fish_greenroom_using_subcommand approve" -l progress -d 'How to tell what goes on across hosts' -r -f -a "text\t'Lines for people, on standard error'
json\t'One JSON object a line, on standard output'
none\t'Not at all'"
complete -c greenroom -n "__fish_greenroom_using_subcommand approve" -l json -d 'Print one JSON object on standard output'
complete -c greenroom -n "__fish_greenroom_using_subcommand approve" -s q -l quiet -d 'Nothing on standard error but errors'
complete -c greenroom -n "__fish_greenroom_using_subcommand approve" -l local -d 'Do it on this host although a control plane is known'
complete -c greenroom -n "__fish_greenroom_using_subcommand approve" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c greenroom -n "__fish_greenroom_using_subcommand system; and not __fish_seen_subcommand_from push show help" -l root -d 'The root of the host\'s tree: `/`, or that of a container or a chroot' -r -F
complete -c greenroom -n "__fish_greenroom_using_subcommand system; and not __fish_seen_subcommand_from push show help" -l state -d 'Where rehearsals, contents and the ledger are kept' -r -F
complete -c greenroom -n "__fish_greenroom_using_subcommand system; and not __fish_seen_subcommand_from push show help" -l on -d 'Do it on these hosts of the control plane: web1, web1,web2 or all; with a system file also role:web and service:shop, and ! in front takes out. Without a control plane, or with --local, everything is about this host' -r
complete -c greenroom -n "__fish_greenroom_using_subcommand system; and not __fish_seen_subcommand_from push show help" -l progress -d 'How to tell what goes on across hosts' -r -f -a "text\t'Lines for people, on standard error'
json\t'One JSON object a line, on standard output'
none\t'Not at all'"
complete -c greenroom -n "__fish_greenroom_using_subcommand system; and not __fish_seen_subcommand_from push show help" -l json -d 'Print one JSON object on standard output'
complete -c greenroom -n "__fish_greenroom_using_subcommand system; and not __fish_seen_subcommand_from push show help" -s q -l quiet -d 'Nothing on standard error but errors'
complete -c greenroom -n "__fish_greenroom_using_subcommand system; and not __fish_seen_subcommand_from push show help" -l local -d 'Do it on this host although a control plane is known'
complete -c greenroom -n "__fish_greenroom_using_subcommand system; and not __fish_seen_subcommand_from push show help" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c greenroom -n "__fish_greenroom_using_subcommand system; and not __fish_seen_subcommand_from push show help" -f -a "push" -d 'Check a system file as `greenroom check` does, and put it in force'
complete -c greenroom -n "__fish_greenroom_using_subcommand system; and not __fish_seen_subcommand_from push show help" -f -a "show" -d 'What is in force: its revision, its hash, by whom and since when'
complete -c greenroom -n "__fish_greenroom_using_subcommand system; and not __fish_seen_subcommand_from push show help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c greenroom -n "__fish_greenroom_using_subcommand system; and __fish_seen_subcommand_from push" -s e -l environment -d 'The environment that the control plane is for' -r
complete -c greenroom -n "__fish_greenroom_using_subcommand system; and __fish_seen_subcommand_from push" -l root -d 'The root of the host\'s tree: `/`, or that of a container or a chroot' -r -F
complete -c greenroom -n "__fish_greenroom_using_subcommand system; and __fish_seen_subcommand_from push" -l state -d 'Where rehearsals, contents and the ledger are kept' -r -F
complete -c greenroom -n "__fish_greenroom_using_subcommand system; and __fish_seen_subcommand_from push" -l on -d 'Do it on these hosts of the control plane: web1, web1,web2 or all; with a system file also role:web and service:shop, and ! in front takes out. Without a control plane, or with --local, everything is about this host' -r
complete -c greenroom -n "__fish_greenroom_using_subcommand system; and __fish_seen_subcommand_from push" -l progress -d 'How to tell what goes on across hosts' -r -f -a "text\t'Lines for people, on standard error'
json\t'One JSON object a line, on standard output'
none\t'Not at all'"
complete -c greenroom -n "__fish_greenroom_using_subcommand system; and __fish_seen_subcommand_from push" -l json -d 'Print one JSON object on standard output'
complete -c greenroom -n "__fish_greenroom_using_subcommand system; and __fish_seen_subcommand_from push" -s q -l quiet -d 'Nothing on standard error but errors'
complete -c greenroom -n "__fish_greenroom_using_subcommand system; and __fish_seen_subcommand_from push" -l local -d 'Do it on this host although a control plane is known'
complete -c greenroom -n "__fish_greenroom_using_subcommand system; and __fish_seen_subcommand_from push" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c greenroom -n "__fish_greenroom_using_subcommand system; and __fish_seen_subcommand_from show" -l root -d 'The root of the host\'s tree: `/`, or that of a container or a chroot' -r -F
complete -c greenroom -n "__fish_greenroom_using_subcommand system; and __fish_seen_subcommand_from show" -l state -d 'Where rehearsals, contents and the ledger are kept' -r -F
complete -c greenroom -n "__fish_greenroom_using_subcommand system; and __fish_seen_subcommand_from show" -l on -d 'Do it on these hosts of the control plane: web1, web1,web2 or all; with a system file also role:web and service:shop, and ! in front takes out. Without a control plane, or with --local, everything is about this host' -r
complete -c greenroom -n "__fish_greenroom_using_subcommand system; and __fish_seen_subcommand_from show" -l progress -d 'How to tell what goes on across hosts' -r -f -a "text\t'Lines for people, on standard error'
json\t'One JSON object a line, on standard output'
none\t'Not at all'"
complete -c greenroom -n "__fish_greenroom_using_subcommand system; and __fish_seen_subcommand_from show" -l json -d 'Print one JSON object on standard output'
complete -c greenroom -n "__fish_greenroom_using_subcommand system; and __fish_seen_subcommand_from show" -s q -l quiet -d 'Nothing on standard error but errors'
complete -c greenroom -n "__fish_greenroom_using_subcommand system; and __fish_seen_subcommand_from show" -l local -d 'Do it on this host although a control plane is known'
complete -c greenroom -n "__fish_greenroom_using_subcommand system; and __fish_seen_subcommand_from show" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c greenroom -n "__fish_greenroom_using_subcommand system; and __fish_seen_subcommand_from help" -f -a "push" -d 'Check a system file as `greenroom check` does, and put it in force'
complete -c greenroom -n "__fish_greenroom_using_subcommand system; and __fish_seen_subcommand_from help" -f -a "show" -d 'What is in force: its revision, its hash, by whom and since when'
complete -c greenroom -n "__fish_greenroom_using_subcommand system; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c greenroom -n "__fish_greenroom_using_subcommand image; and not __fish_seen_subcommand_from update list show help" -l root -d 'The root of the host\'s tree: `/`, or that of a container or a chroot' -r -F
complete -c greenroom -n "__fish_greenroom_using_subcommand image; and not __fish_seen_subcommand_from update list show help" -l state -d 'Where rehearsals, contents and the ledger are kept' -r -F
complete -c greenroom -n "__fish_greenroom_using_subcommand image; and not __fish_seen_subcommand_from update list show help" -l on -d 'Do it on these hosts of the control plane: web1, web1,web2 or all; with a system file also role:web and service:shop, and ! in front takes out. Without a control plane, or with --local, everything is about this host' -r
complete -c greenroom -n "__fish_greenroom_using_subcommand image; and not __fish_seen_subcommand_from update list show help" -l progress -d 'How to tell what goes on across hosts' -r -f -a "text\t'Lines for people, on standard error'
json\t'One JSON object a line, on standard output'
none\t'Not at all'"
complete -c greenroom -n "__fish_greenroom_using_subcommand image; and not __fish_seen_subcommand_from update list show help" -l json -d 'Print one JSON object on standard output'
complete -c greenroom -n "__fish_greenroom_using_subcommand image; and not __fish_seen_subcommand_from update list show help" -s q -l quiet -d 'Nothing on standard error but errors'
complete -c greenroom -n "__fish_greenroom_using_subcommand image; and not __fish_seen_subcommand_from update list show help" -l local -d 'Do it on this host although a control plane is known'
complete -c greenroom -n "__fish_greenroom_using_subcommand image; and not __fish_seen_subcommand_from update list show help" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c greenroom -n "__fish_greenroom_using_subcommand image; and not __fish_seen_subcommand_from update list show help" -f -a "update" -d 'Bring the images of the hosts that --on names up to date: what differs from the last one is sent'
complete -c greenroom -n "__fish_greenroom_using_subcommand image; and not __fish_seen_subcommand_from update list show help" -f -a "list" -d 'The newest image of each host'
complete -c greenroom -n "__fish_greenroom_using_subcommand image; and not __fish_seen_subcommand_from update list show help" -f -a "show" -d 'All images of a host'
complete -c greenroom -n "__fish_greenroom_using_subcommand image; and not __fish_seen_subcommand_from update list show help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c greenroom -n "__fish_greenroom_using_subcommand image; and __fish_seen_subcommand_from update" -l limit-rate -d 'At most so much in a second from each host (500K, 10M)' -r
complete -c greenroom -n "__fish_greenroom_using_subcommand image; and __fish_seen_subcommand_from update" -l root -d 'The root of the host\'s tree: `/`, or that of a container or a chroot' -r -F
complete -c greenroom -n "__fish_greenroom_using_subcommand image; and __fish_seen_subcommand_from update" -l state -d 'Where rehearsals, contents and the ledger are kept' -r -F
complete -c greenroom -n "__fish_greenroom_using_subcommand image; and __fish_seen_subcommand_from update" -l on -d 'Do it on these hosts of the control plane: web1, web1,web2 or all; with a system file also role:web and service:shop, and ! in front takes out. Without a control plane, or with --local, everything is about this host' -r
complete -c greenroom -n "__fish_greenroom_using_subcommand image; and __fish_seen_subcommand_from update" -l progress -d 'How to tell what goes on across hosts' -r -f -a "text\t'Lines for people, on standard error'
json\t'One JSON object a line, on standard output'
none\t'Not at all'"
complete -c greenroom -n "__fish_greenroom_using_subcommand image; and __fish_seen_subcommand_from update" -l json -d 'Print one JSON object on standard output'
complete -c greenroom -n "__fish_greenroom_using_subcommand image; and __fish_seen_subcommand_from update" -s q -l quiet -d 'Nothing on standard error but errors'
complete -c greenroom -n "__fish_greenroom_using_subcommand image; and __fish_seen_subcommand_from update" -l local -d 'Do it on this host although a control plane is known'
complete -c greenroom -n "__fish_greenroom_using_subcommand image; and __fish_seen_subcommand_from update" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c greenroom -n "__fish_greenroom_using_subcommand image; and __fish_seen_subcommand_from list" -l root -d 'The root of the host\'s tree: `/`, or that of a container or a chroot' -r -F
complete -c greenroom -n "__fish_greenroom_using_subcommand image; and __fish_seen_subcommand_from list" -l state -d 'Where rehearsals, contents and the ledger are kept' -r -F
complete -c greenroom -n "__fish_greenroom_using_subcommand image; and __fish_seen_subcommand_from list" -l on -d 'Do it on these hosts of the control plane: web1, web1,web2 or all; with a system file also role:web and service:shop, and ! in front takes out. Without a control plane, or with --local, everything is about this host' -r
complete -c greenroom -n "__fish_greenroom_using_subcommand image; and __fish_seen_subcommand_from list" -l progress -d 'How to tell what goes on across hosts' -r -f -a "text\t'Lines for people, on standard error'
json\t'One JSON object a line, on standard output'
none\t'Not at all'"
complete -c greenroom -n "__fish_greenroom_using_subcommand image; and __fish_seen_subcommand_from list" -l json -d 'Print one JSON object on standard output'
complete -c greenroom -n "__fish_greenroom_using_subcommand image; and __fish_seen_subcommand_from list" -s q -l quiet -d 'Nothing on standard error but errors'
complete -c greenroom -n "__fish_greenroom_using_subcommand image; and __fish_seen_subcommand_from list" -l local -d 'Do it on this host although a control plane is known'
complete -c greenroom -n "__fish_greenroom_using_subcommand image; and __fish_seen_subcommand_from list" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c greenroom -n "__fish_greenroom_using_subcommand image; and __fish_seen_subcommand_from show" -l root -d 'The root of the host\'s tree: `/`, or that of a container or a chroot' -r -F
complete -c greenroom -n "__fish_greenroom_using_subcommand image; and __fish_seen_subcommand_from show" -l state -d 'Where rehearsals, contents and the ledger are kept' -r -F
complete -c greenroom -n "__fish_greenroom_using_subcommand image; and __fish_seen_subcommand_from show" -l on -d 'Do it on these hosts of the control plane: web1, web1,web2 or all; with a system file also role:web and service:shop, and ! in front takes out. Without a control plane, or with --local, everything is about this host' -r
complete -c greenroom -n "__fish_greenroom_using_subcommand image; and __fish_seen_subcommand_from show" -l progress -d 'How to tell what goes on across hosts' -r -f -a "text\t'Lines for people, on standard error'
json\t'One JSON object a line, on standard output'
none\t'Not at all'"
complete -c greenroom -n "__fish_greenroom_using_subcommand image; and __fish_seen_subcommand_from show" -l json -d 'Print one JSON object on standard output'
complete -c greenroom -n "__fish_greenroom_using_subcommand image; and __fish_seen_subcommand_from show" -s q -l quiet -d 'Nothing on standard error but errors'
complete -c greenroom -n "__fish_greenroom_using_subcommand image; and __fish_seen_subcommand_from show" -l local -d 'Do it on this host although a control plane is known'
complete -c greenroom -n "__fish_greenroom_using_subcommand image; and __fish_seen_subcommand_from show" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c greenroom -n "__fish_greenroom_using_subcommand image; and __fish_seen_subcommand_from help" -f -a "update" -d 'Bring the images of the hosts that --on names up to date: what differs from the last one is sent'
complete -c greenroom -n "__fish_greenroom_using_subcommand image; and __fish_seen_subcommand_from help" -f -a "list" -d 'The newest image of each host'
complete -c greenroom -n "__fish_greenroom_using_subcommand image; and __fish_seen_subcommand_from help" -f -a "show" -d 'All images of a host'
complete -c greenroom -n "__fish_greenroom_using_subcommand image; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c greenroom -n "__fish_greenroom_using_subcommand rebuild" -l as -d 'The host that it becomes, but for what names it' -r
complete -c greenroom -n "__fish_greenroom_using_subcommand rebuild" -l why -d 'Why: goes to the ledger' -r
complete -c greenroom -n "__fish_greenroom_using_subcommand rebuild" -l root -d 'The root of the host\'s tree: `/`, or that of a container or a chroot' -r -F
complete -c greenroom -n "__fish_greenroom_using_subcommand rebuild" -l state -d 'Where rehearsals, contents and the ledger are kept' -r -F
complete -c greenroom -n "__fish_greenroom_using_subcommand rebuild" -l on -d 'Do it on these hosts of the control plane: web1, web1,web2 or all; with a system file also role:web and service:shop, and ! in front takes out. Without a control plane, or with --local, everything is about this host' -r
complete -c greenroom -n "__fish_greenroom_using_subcommand rebuild" -l progress -d 'How to tell what goes on across hosts' -r -f -a "text\t'Lines for people, on standard error'
json\t'One JSON object a line, on standard output'
none\t'Not at all'"
complete -c greenroom -n "__fish_greenroom_using_subcommand rebuild" -l json -d 'Print one JSON object on standard output'
complete -c greenroom -n "__fish_greenroom_using_subcommand rebuild" -s q -l quiet -d 'Nothing on standard error but errors'
complete -c greenroom -n "__fish_greenroom_using_subcommand rebuild" -l local -d 'Do it on this host although a control plane is known'
complete -c greenroom -n "__fish_greenroom_using_subcommand rebuild" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c greenroom -n "__fish_greenroom_using_subcommand token; and not __fish_seen_subcommand_from create list revoke help" -l root -d 'The root of the host\'s tree: `/`, or that of a container or a chroot' -r -F
complete -c greenroom -n "__fish_greenroom_using_subcommand token; and not __fish_seen_subcommand_from create list revoke help" -l state -d 'Where rehearsals, contents and the ledger are kept' -r -F
complete -c greenroom -n "__fish_greenroom_using_subcommand token; and not __fish_seen_subcommand_from create list revoke help" -l on -d 'Do it on these hosts of the control plane: web1, web1,web2 or all; with a system file also role:web and service:shop, and ! in front takes out. Without a control plane, or with --local, everything is about this host' -r
complete -c greenroom -n "__fish_greenroom_using_subcommand token; and not __fish_seen_subcommand_from create list revoke help" -l progress -d 'How to tell what goes on across hosts' -r -f -a "text\t'Lines for people, on standard error'
json\t'One JSON object a line, on standard output'
none\t'Not at all'"
complete -c greenroom -n "__fish_greenroom_using_subcommand token; and not __fish_seen_subcommand_from create list revoke help" -l json -d 'Print one JSON object on standard output'
complete -c greenroom -n "__fish_greenroom_using_subcommand token; and not __fish_seen_subcommand_from create list revoke help" -s q -l quiet -d 'Nothing on standard error but errors'
complete -c greenroom -n "__fish_greenroom_using_subcommand token; and not __fish_seen_subcommand_from create list revoke help" -l local -d 'Do it on this host although a control plane is known'
complete -c greenroom -n "__fish_greenroom_using_subcommand token; and not __fish_seen_subcommand_from create list revoke help" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c greenroom -n "__fish_greenroom_using_subcommand token; and not __fish_seen_subcommand_from create list revoke help" -f -a "create" -d 'Let a person in: prints the token, this once'
complete -c greenroom -n "__fish_greenroom_using_subcommand token; and not __fish_seen_subcommand_from create list revoke help" -f -a "list" -d 'All of them, without their secrets'
complete -c greenroom -n "__fish_greenroom_using_subcommand token; and not __fish_seen_subcommand_from create list revoke help" -f -a "revoke" -d 'Shut one out'
complete -c greenroom -n "__fish_greenroom_using_subcommand token; and not __fish_seen_subcommand_from create list revoke help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c greenroom -n "__fish_greenroom_using_subcommand token; and __fish_seen_subcommand_from create" -l role -d 'viewer (look), developer (rehearse), operator (apply, undo) or admin' -r
complete -c greenroom -n "__fish_greenroom_using_subcommand token; and __fish_seen_subcommand_from create" -l valid -d 'How long it is good for (30d, 12w); 90 days where nothing is said' -r
complete -c greenroom -n "__fish_greenroom_using_subcommand token; and __fish_seen_subcommand_from create" -l root -d 'The root of the host\'s tree: `/`, or that of a container or a chroot' -r -F
complete -c greenroom -n "__fish_greenroom_using_subcommand token; and __fish_seen_subcommand_from create" -l state -d 'Where rehearsals, contents and the ledger are kept' -r -F
complete -c greenroom -n "__fish_greenroom_using_subcommand token; and __fish_seen_subcommand_from create" -l on -d 'Do it on these hosts of the control plane: web1, web1,web2 or all; with a system file also role:web and service:shop, and ! in front takes out. Without a control plane, or with --local, everything is about this host' -r
complete -c greenroom -n "__fish_greenroom_using_subcommand token; and __fish_seen_subcommand_from create" -l progress -d 'How to tell what goes on across hosts' -r -f -a "text\t'Lines for people, on standard error'
json\t'One JSON object a line, on standard output'
none\t'Not at all'"
complete -c greenroom -n "__fish_greenroom_using_subcommand token; and __fish_seen_subcommand_from create" -l json -d 'Print one JSON object on standard output'
complete -c greenroom -n "__fish_greenroom_using_subcommand token; and __fish_seen_subcommand_from create" -s q -l quiet -d 'Nothing on standard error but errors'
complete -c greenroom -n "__fish_greenroom_using_subcommand token; and __fish_seen_subcommand_from create" -l local -d 'Do it on this host although a control plane is known'
complete -c greenroom -n "__fish_greenroom_using_subcommand token; and __fish_seen_subcommand_from create" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c greenroom -n "__fish_greenroom_using_subcommand token; and __fish_seen_subcommand_from list" -l root -d 'The root of the host\'s tree: `/`, or that of a container or a chroot' -r -F
complete -c greenroom -n "__fish_greenroom_using_subcommand token; and __fish_seen_subcommand_from list" -l state -d 'Where rehearsals, contents and the ledger are kept' -r -F
complete -c greenroom -n "__fish_greenroom_using_subcommand token; and __fish_seen_subcommand_from list" -l on -d 'Do it on these hosts of the control plane: web1, web1,web2 or all; with a system file also role:web and service:shop, and ! in front takes out. Without a control plane, or with --local, everything is about this host' -r
complete -c greenroom -n "__fish_greenroom_using_subcommand token; and __fish_seen_subcommand_from list" -l progress -d 'How to tell what goes on across hosts' -r -f -a "text\t'Lines for people, on standard error'
json\t'One JSON object a line, on standard output'
none\t'Not at all'"
complete -c greenroom -n "__fish_greenroom_using_subcommand token; and __fish_seen_subcommand_from list" -l json -d 'Print one JSON object on standard output'
complete -c greenroom -n "__fish_greenroom_using_subcommand token; and __fish_seen_subcommand_from list" -s q -l quiet -d 'Nothing on standard error but errors'
complete -c greenroom -n "__fish_greenroom_using_subcommand token; and __fish_seen_subcommand_from list" -l local -d 'Do it on this host although a control plane is known'
complete -c greenroom -n "__fish_greenroom_using_subcommand token; and __fish_seen_subcommand_from list" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c greenroom -n "__fish_greenroom_using_subcommand token; and __fish_seen_subcommand_from revoke" -l root -d 'The root of the host\'s tree: `/`, or that of a container or a chroot' -r -F
complete -c greenroom -n "__fish_greenroom_using_subcommand token; and __fish_seen_subcommand_from revoke" -l state -d 'Where rehearsals, contents and the ledger are kept' -r -F
complete -c greenroom -n "__fish_greenroom_using_subcommand token; and __fish_seen_subcommand_from revoke" -l on -d 'Do it on these hosts of the control plane: web1, web1,web2 or all; with a system file also role:web and service:shop, and ! in front takes out. Without a control plane, or with --local, everything is about this host' -r
complete -c greenroom -n "__fish_greenroom_using_subcommand token; and __fish_seen_subcommand_from revoke" -l progress -d 'How to tell what goes on across hosts' -r -f -a "text\t'Lines for people, on standard error'
json\t'One JSON object a line, on standard output'
none\t'Not at all'"
complete -c greenroom -n "__fish_greenroom_using_subcommand token; and __fish_seen_subcommand_from revoke" -l json -d 'Print one JSON object on standard output'
complete -c greenroom -n "__fish_greenroom_using_subcommand token; and __fish_seen_subcommand_from revoke" -s q -l quiet -d 'Nothing on standard error but errors'
complete -c greenroom -n "__fish_greenroom_using_subcommand token; and __fish_seen_subcommand_from revoke" -l local -d 'Do it on this host although a control plane is known'
complete -c greenroom -n "__fish_greenroom_using_subcommand token; and __fish_seen_subcommand_from revoke" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c greenroom -n "__fish_greenroom_using_subcommand token; and __fish_seen_subcommand_from help" -f -a "create" -d 'Let a person in: prints the token, this once'
complete -c greenroom -n "__fish_greenroom_using_subcommand token; and __fish_seen_subcommand_from help" -f -a "list" -d 'All of them, without their secrets'
complete -c greenroom -n "__fish_greenroom_using_subcommand token; and __fish_seen_subcommand_from help" -f -a "revoke" -d 'Shut one out'
complete -c greenroom -n "__fish_greenroom_using_subcommand token; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c greenroom -n "__fish_greenroom_using_subcommand login" -l authority -d 'The control plane\'s authority: control/authority.pem in its state directory' -r -F
complete -c greenroom -n "__fish_greenroom_using_subcommand login" -l root -d 'The root of the host\'s tree: `/`, or that of a container or a chroot' -r -F
complete -c greenroom -n "__fish_greenroom_using_subcommand login" -l state -d 'Where rehearsals, contents and the ledger are kept' -r -F
complete -c greenroom -n "__fish_greenroom_using_subcommand login" -l on -d 'Do it on these hosts of the control plane: web1, web1,web2 or all; with a system file also role:web and service:shop, and ! in front takes out. Without a control plane, or with --local, everything is about this host' -r
complete -c greenroom -n "__fish_greenroom_using_subcommand login" -l progress -d 'How to tell what goes on across hosts' -r -f -a "text\t'Lines for people, on standard error'
json\t'One JSON object a line, on standard output'
none\t'Not at all'"
complete -c greenroom -n "__fish_greenroom_using_subcommand login" -l json -d 'Print one JSON object on standard output'
complete -c greenroom -n "__fish_greenroom_using_subcommand login" -s q -l quiet -d 'Nothing on standard error but errors'
complete -c greenroom -n "__fish_greenroom_using_subcommand login" -l local -d 'Do it on this host although a control plane is known'
complete -c greenroom -n "__fish_greenroom_using_subcommand login" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c greenroom -n "__fish_greenroom_using_subcommand completions" -l root -d 'The root of the host\'s tree: `/`, or that of a container or a chroot' -r -F
complete -c greenroom -n "__fish_greenroom_using_subcommand completions" -l state -d 'Where rehearsals, contents and the ledger are kept' -r -F
complete -c greenroom -n "__fish_greenroom_using_subcommand completions" -l on -d 'Do it on these hosts of the control plane: web1, web1,web2 or all; with a system file also role:web and service:shop, and ! in front takes out. Without a control plane, or with --local, everything is about this host' -r
complete -c greenroom -n "__fish_greenroom_using_subcommand completions" -l progress -d 'How to tell what goes on across hosts' -r -f -a "text\t'Lines for people, on standard error'
json\t'One JSON object a line, on standard output'
none\t'Not at all'"
complete -c greenroom -n "__fish_greenroom_using_subcommand completions" -l json -d 'Print one JSON object on standard output'
complete -c greenroom -n "__fish_greenroom_using_subcommand completions" -s q -l quiet -d 'Nothing on standard error but errors'
complete -c greenroom -n "__fish_greenroom_using_subcommand completions" -l local -d 'Do it on this host although a control plane is known'
complete -c greenroom -n "__fish_greenroom_using_subcommand completions" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c greenroom -n "__fish_greenroom_using_subcommand help; and not __fish_seen_subcommand_from rehearse hotfix show apply undo log status drift adopt revert diff manifest recover gc watch init check install uninstall doctor serve join enrol agent follow continue abort approve system image rebuild token login completions help" -f -a "rehearse" -d 'Run a change for real on a copy of this host and see what it does'
complete -c greenroom -n "__fish_greenroom_using_subcommand help; and not __fish_seen_subcommand_from rehearse hotfix show apply undo log status drift adopt revert diff manifest recover gc watch init check install uninstall doctor serve join enrol agent follow continue abort approve system image rebuild token login completions help" -f -a "hotfix" -d 'Work at a shell on a copy of this host, see what you did, then apply it or drop it'
complete -c greenroom -n "__fish_greenroom_using_subcommand help; and not __fish_seen_subcommand_from rehearse hotfix show apply undo log status drift adopt revert diff manifest recover gc watch init check install uninstall doctor serve join enrol agent follow continue abort approve system image rebuild token login completions help" -f -a "show" -d 'Show what a rehearsal or a change does, path by path'
complete -c greenroom -n "__fish_greenroom_using_subcommand help; and not __fish_seen_subcommand_from rehearse hotfix show apply undo log status drift adopt revert diff manifest recover gc watch init check install uninstall doctor serve join enrol agent follow continue abort approve system image rebuild token login completions help" -f -a "apply" -d 'Put a rehearsed change live: exactly what was captured, only where the host is as rehearsed'
complete -c greenroom -n "__fish_greenroom_using_subcommand help; and not __fish_seen_subcommand_from rehearse hotfix show apply undo log status drift adopt revert diff manifest recover gc watch init check install uninstall doctor serve join enrol agent follow continue abort approve system image rebuild token login completions help" -f -a "undo" -d 'Take a change back'
complete -c greenroom -n "__fish_greenroom_using_subcommand help; and not __fish_seen_subcommand_from rehearse hotfix show apply undo log status drift adopt revert diff manifest recover gc watch init check install uninstall doctor serve join enrol agent follow continue abort approve system image rebuild token login completions help" -f -a "log" -d 'The ledger: everything that happened, oldest first'
complete -c greenroom -n "__fish_greenroom_using_subcommand help; and not __fish_seen_subcommand_from rehearse hotfix show apply undo log status drift adopt revert diff manifest recover gc watch init check install uninstall doctor serve join enrol agent follow continue abort approve system image rebuild token login completions help" -f -a "status" -d 'Say in how many places this host differs from its record: what, since when, by whom'
complete -c greenroom -n "__fish_greenroom_using_subcommand help; and not __fish_seen_subcommand_from rehearse hotfix show apply undo log status drift adopt revert diff manifest recover gc watch init check install uninstall doctor serve join enrol agent follow continue abort approve system image rebuild token login completions help" -f -a "drift" -d 'Show the differences from the record; the exit status is 1 when there are any'
complete -c greenroom -n "__fish_greenroom_using_subcommand help; and not __fish_seen_subcommand_from rehearse hotfix show apply undo log status drift adopt revert diff manifest recover gc watch init check install uninstall doctor serve join enrol agent follow continue abort approve system image rebuild token login completions help" -f -a "adopt" -d 'Make differences part of the record: a change like any other, with its undo'
complete -c greenroom -n "__fish_greenroom_using_subcommand help; and not __fish_seen_subcommand_from rehearse hotfix show apply undo log status drift adopt revert diff manifest recover gc watch init check install uninstall doctor serve join enrol agent follow continue abort approve system image rebuild token login completions help" -f -a "revert" -d 'Take differences back: what is on record comes back to the host'
complete -c greenroom -n "__fish_greenroom_using_subcommand help; and not __fish_seen_subcommand_from rehearse hotfix show apply undo log status drift adopt revert diff manifest recover gc watch init check install uninstall doctor serve join enrol agent follow continue abort approve system image rebuild token login completions help" -f -a "diff" -d 'What differs between two systems, what most likely matters first'
complete -c greenroom -n "__fish_greenroom_using_subcommand help; and not __fish_seen_subcommand_from rehearse hotfix show apply undo log status drift adopt revert diff manifest recover gc watch init check install uninstall doctor serve join enrol agent follow continue abort approve system image rebuild token login completions help" -f -a "manifest" -d 'All that `diff` needs to know of this host, on standard output: compare it elsewhere, or later'
complete -c greenroom -n "__fish_greenroom_using_subcommand help; and not __fish_seen_subcommand_from rehearse hotfix show apply undo log status drift adopt revert diff manifest recover gc watch init check install uninstall doctor serve join enrol agent follow continue abort approve system image rebuild token login completions help" -f -a "recover" -d 'Finish what a crash interrupted'
complete -c greenroom -n "__fish_greenroom_using_subcommand help; and not __fish_seen_subcommand_from rehearse hotfix show apply undo log status drift adopt revert diff manifest recover gc watch init check install uninstall doctor serve join enrol agent follow continue abort approve system image rebuild token login completions help" -f -a "gc" -d 'Drop what nothing needs any more; never what an undo may need, unless you give that up'
complete -c greenroom -n "__fish_greenroom_using_subcommand help; and not __fish_seen_subcommand_from rehearse hotfix show apply undo log status drift adopt revert diff manifest recover gc watch init check install uninstall doctor serve join enrol agent follow continue abort approve system image rebuild token login completions help" -f -a "watch" -d 'Watch this host\'s files and note every change with who made it; `greenroom install` runs it as a service'
complete -c greenroom -n "__fish_greenroom_using_subcommand help; and not __fish_seen_subcommand_from rehearse hotfix show apply undo log status drift adopt revert diff manifest recover gc watch init check install uninstall doctor serve join enrol agent follow continue abort approve system image rebuild token login completions help" -f -a "init" -d 'Write a commented greenroom.toml into this directory, from what this host says of itself'
complete -c greenroom -n "__fish_greenroom_using_subcommand help; and not __fish_seen_subcommand_from rehearse hotfix show apply undo log status drift adopt revert diff manifest recover gc watch init check install uninstall doctor serve join enrol agent follow continue abort approve system image rebuild token login completions help" -f -a "check" -d 'Say what is wrong with a system file, or what it means'
complete -c greenroom -n "__fish_greenroom_using_subcommand help; and not __fish_seen_subcommand_from rehearse hotfix show apply undo log status drift adopt revert diff manifest recover gc watch init check install uninstall doctor serve join enrol agent follow continue abort approve system image rebuild token login completions help" -f -a "install" -d 'Set up the services on this host: the watch, and a daily scrub'
complete -c greenroom -n "__fish_greenroom_using_subcommand help; and not __fish_seen_subcommand_from rehearse hotfix show apply undo log status drift adopt revert diff manifest recover gc watch init check install uninstall doctor serve join enrol agent follow continue abort approve system image rebuild token login completions help" -f -a "uninstall" -d 'Remove the services that `install` set up; records and the ledger stay'
complete -c greenroom -n "__fish_greenroom_using_subcommand help; and not __fish_seen_subcommand_from rehearse hotfix show apply undo log status drift adopt revert diff manifest recover gc watch init check install uninstall doctor serve join enrol agent follow continue abort approve system image rebuild token login completions help" -f -a "doctor" -d 'Say what of the environment is missing, with the command that mends it'
complete -c greenroom -n "__fish_greenroom_using_subcommand help; and not __fish_seen_subcommand_from rehearse hotfix show apply undo log status drift adopt revert diff manifest recover gc watch init check install uninstall doctor serve join enrol agent follow continue abort approve system image rebuild token login completions help" -f -a "serve" -d 'Run the control plane of many hosts on this machine'
complete -c greenroom -n "__fish_greenroom_using_subcommand help; and not __fish_seen_subcommand_from rehearse hotfix show apply undo log status drift adopt revert diff manifest recover gc watch init check install uninstall doctor serve join enrol agent follow continue abort approve system image rebuild token login completions help" -f -a "join" -d 'Let a host in, over your own SSH; afterwards no SSH is needed'
complete -c greenroom -n "__fish_greenroom_using_subcommand help; and not __fish_seen_subcommand_from rehearse hotfix show apply undo log status drift adopt revert diff manifest recover gc watch init check install uninstall doctor serve join enrol agent follow continue abort approve system image rebuild token login completions help" -f -a "enrol" -d 'Let this host in, with an invitation on standard input; `join` does it'
complete -c greenroom -n "__fish_greenroom_using_subcommand help; and not __fish_seen_subcommand_from rehearse hotfix show apply undo log status drift adopt revert diff manifest recover gc watch init check install uninstall doctor serve join enrol agent follow continue abort approve system image rebuild token login completions help" -f -a "agent" -d 'Do on this host what the control plane sends; `greenroom install --agent` runs it as a service'
complete -c greenroom -n "__fish_greenroom_using_subcommand help; and not __fish_seen_subcommand_from rehearse hotfix show apply undo log status drift adopt revert diff manifest recover gc watch init check install uninstall doctor serve join enrol agent follow continue abort approve system image rebuild token login completions help" -f -a "follow" -d 'Follow a rehearsal or a change across hosts until it is over'
complete -c greenroom -n "__fish_greenroom_using_subcommand help; and not __fish_seen_subcommand_from rehearse hotfix show apply undo log status drift adopt revert diff manifest recover gc watch init check install uninstall doctor serve join enrol agent follow continue abort approve system image rebuild token login completions help" -f -a "continue" -d 'Go on with a change across hosts that is paused'
complete -c greenroom -n "__fish_greenroom_using_subcommand help; and not __fish_seen_subcommand_from rehearse hotfix show apply undo log status drift adopt revert diff manifest recover gc watch init check install uninstall doctor serve join enrol agent follow continue abort approve system image rebuild token login completions help" -f -a "abort" -d 'Take back a change across hosts that is under way'
complete -c greenroom -n "__fish_greenroom_using_subcommand help; and not __fish_seen_subcommand_from rehearse hotfix show apply undo log status drift adopt revert diff manifest recover gc watch init check install uninstall doctor serve join enrol agent follow continue abort approve system image rebuild token login completions help" -f -a "approve" -d 'Say as a second person that a rehearsal across hosts may be applied'
complete -c greenroom -n "__fish_greenroom_using_subcommand help; and not __fish_seen_subcommand_from rehearse hotfix show apply undo log status drift adopt revert diff manifest recover gc watch init check install uninstall doctor serve join enrol agent follow continue abort approve system image rebuild token login completions help" -f -a "system" -d 'The system file of the control plane'
complete -c greenroom -n "__fish_greenroom_using_subcommand help; and not __fish_seen_subcommand_from rehearse hotfix show apply undo log status drift adopt revert diff manifest recover gc watch init check install uninstall doctor serve join enrol agent follow continue abort approve system image rebuild token login completions help" -f -a "image" -d 'Images of hosts at the control plane: all that a host is, but for data and what is volatile'
complete -c greenroom -n "__fish_greenroom_using_subcommand help; and not __fish_seen_subcommand_from rehearse hotfix show apply undo log status drift adopt revert diff manifest recover gc watch init check install uninstall doctor serve join enrol agent follow continue abort approve system image rebuild token login completions help" -f -a "rebuild" -d 'Make a fresh host what another one is on record, with its own name, keys and addresses'
complete -c greenroom -n "__fish_greenroom_using_subcommand help; and not __fish_seen_subcommand_from rehearse hotfix show apply undo log status drift adopt revert diff manifest recover gc watch init check install uninstall doctor serve join enrol agent follow continue abort approve system image rebuild token login completions help" -f -a "token" -d 'People of the control plane'
complete -c greenroom -n "__fish_greenroom_using_subcommand help; and not __fish_seen_subcommand_from rehearse hotfix show apply undo log status drift adopt revert diff manifest recover gc watch init check install uninstall doctor serve join enrol agent follow continue abort approve system image rebuild token login completions help" -f -a "login" -d 'Send commands to a control plane from now on; the token comes on standard input'
complete -c greenroom -n "__fish_greenroom_using_subcommand help; and not __fish_seen_subcommand_from rehearse hotfix show apply undo log status drift adopt revert diff manifest recover gc watch init check install uninstall doctor serve join enrol agent follow continue abort approve system image rebuild token login completions help" -f -a "completions" -d 'Print the completions for a shell'
complete -c greenroom -n "__fish_greenroom_using_subcommand help; and not __fish_seen_subcommand_from rehearse hotfix show apply undo log status drift adopt revert diff manifest recover gc watch init check install uninstall doctor serve join enrol agent follow continue abort approve system image rebuild token login completions help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c greenroom -n "__fish_greenroom_using_subcommand help; and __fish_seen_subcommand_from agent" -f -a "look" -d 'Print how this host is, in short, as its agent tells it'
complete -c greenroom -n "__fish_greenroom_using_subcommand help; and __fish_seen_subcommand_from agent" -f -a "back" -d 'Put the program from before back, unless the new one is in touch; the guard of an upgrade runs it'
complete -c greenroom -n "__fish_greenroom_using_subcommand help; and __fish_seen_subcommand_from agent" -f -a "upgrade" -d 'Run another program as the agent of hosts (all, or those of --on): one host first, then the rest'
complete -c greenroom -n "__fish_greenroom_using_subcommand help; and __fish_seen_subcommand_from system" -f -a "push" -d 'Check a system file as `greenroom check` does, and put it in force'
complete -c greenroom -n "__fish_greenroom_using_subcommand help; and __fish_seen_subcommand_from system" -f -a "show" -d 'What is in force: its revision, its hash, by whom and since when'
complete -c greenroom -n "__fish_greenroom_using_subcommand help; and __fish_seen_subcommand_from image" -f -a "update" -d 'Bring the images of the hosts that --on names up to date: what differs from the last one is sent'
complete -c greenroom -n "__fish_greenroom_using_subcommand help; and __fish_seen_subcommand_from image" -f -a "list" -d 'The newest image of each host'
complete -c greenroom -n "__fish_greenroom_using_subcommand help; and __fish_seen_subcommand_from image" -f -a "show" -d 'All images of a host'
complete -c greenroom -n "__fish_greenroom_using_subcommand help; and __fish_seen_subcommand_from token" -f -a "create" -d 'Let a person in: prints the token, this once'
complete -c greenroom -n "__fish_greenroom_using_subcommand help; and __fish_seen_subcommand_from token" -f -a "list" -d 'All of them, without their secrets'
complete -c greenroom -n "__fish_greenroom_using_subcommand help; and __fish_seen_subcommand_from token" -f -a "revoke" -d 'Shut one out'
