//! The `greenroom` command.

fn main() -> std::process::ExitCode {
    greenroom_cli::main()
}
