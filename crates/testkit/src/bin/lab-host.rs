//! Lab hosts to try things on by hand: boots them, prints how to get into them, and removes them at the end of input.
//!
//! `cargo run -p greenroom-testkit --bin lab-host -- NAME[,NAME…] [GREENROOM-BINARY]`

use greenroom_testkit::lab::{Boot, Fleet, Lab, LabError};
use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let names = args.next().unwrap_or_else(|| "lab1".to_owned());
    match serve(&names, args.next().as_deref().map(Path::new)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn serve(names: &str, greenroom: Option<&Path>) -> Result<(), LabError> {
    let lab = Lab::new()?;
    let mut fleet = Fleet::new(&lab)?;
    for name in names.split(',') {
        let host = fleet.add(name)?;
        if let Some(binary) = greenroom {
            host.install_greenroom(binary)?;
        }
    }
    fleet.boot(&Boot::with_packages())?;
    for host in fleet.hosts() {
        let leader = host.leader()?;
        println!("READY {leader} {} {}", lab.dir().display(), host.name());
        eprintln!("{}", host.name());
        eprintln!("  shell:  nsenter --all --target {leader} systemd-run --pty --quiet bash");
        eprintln!("  root:   {}", host.root().display());
    }
    let operator = fleet.operator().namespace();
    println!("OPERATOR {}", operator.display());
    eprintln!("operator (ssh NAME works there)");
    eprintln!(
        "  shell:  nsenter --net={0} --mount={1} bash",
        operator.display(),
        operator.with_file_name("mnt").display()
    );
    eprintln!("end:      Ctrl-D here");
    // Whatever is typed here is not for the hosts; only its end counts.
    let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
    Ok(())
}
