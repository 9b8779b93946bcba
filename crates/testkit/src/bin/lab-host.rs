//! A lab host to try things on by hand: boots one, prints how to get into it, and removes it at the end of input.
//!
//! `cargo run -p greenroom-testkit --bin lab-host -- NAME [GREENROOM-BINARY]`

use greenroom_testkit::lab::{Boot, Lab, LabError};
use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let name = args.next().unwrap_or_else(|| "lab1".to_owned());
    match serve(&name, args.next().as_deref().map(Path::new)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn serve(name: &str, greenroom: Option<&Path>) -> Result<(), LabError> {
    let lab = Lab::new()?;
    let mut host = lab.host(name)?;
    if let Some(binary) = greenroom {
        host.install_greenroom(binary)?;
    }
    host.boot(&Boot::with_packages())?;
    let leader = host.leader()?;
    println!("READY {leader} {}", lab.dir().display());
    eprintln!("shell:  nsenter --all --target {leader} systemd-run --pty --quiet bash");
    eprintln!("root:   {}", host.root().display());
    eprintln!("end:    Ctrl-D here");
    // Whatever is typed here is not for the host; only its end counts.
    let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
    Ok(())
}
