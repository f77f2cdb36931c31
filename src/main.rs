use std::process::ExitCode;

use mvm::ui::Ui;
use mvm::{cli, commands, config};

fn main() -> ExitCode {
    commands::complete::answer();
    let cli = cli::parse();
    init_log();
    let mut ui = Ui::new(cli.global.verbosity());
    commands::on_interrupt();
    match commands::run(cli, &mut ui) {
        Ok(code) => {
            ui.settle();
            code
        }
        Err(error) => {
            ui.error(&error);
            ExitCode::from(error.kind.exit_code())
        }
    }
}

/// `MVM_LOG=debug` shows every command that is run.
fn init_log() {
    if let Some(filter) = config::log_filter() {
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    }
}
