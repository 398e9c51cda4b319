//! `user`: people who sign in to the fronts for older systems' clients.

use std::io::{IsTerminal, Write as _, stdin};

use clap::Subcommand;
use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
use taskcenter_client::resources::{UserResource, UserSpec};

use super::exit::Failure;
use super::out;
use super::remote::{Center, each};
use super::table::{self, Table};

pub const EXAMPLES: &str = "\
Examples:
  taskcenter user add li
  taskcenter user add chief --senior < password.txt
  taskcenter user list
  taskcenter user remove li

The password is asked for, or is the first line of standard input; it never stands in the arguments.";

#[derive(Debug, Subcommand)]
pub enum UserVerb {
    /// Add a person, or give one another password.
    #[command(after_help = EXAMPLES)]
    Add {
        /// What the person signs in as.
        name: String,
        /// May assign tasks of the claim board to others.
        #[arg(long)]
        senior: bool,
    },
    /// List everybody.
    #[command(after_help = EXAMPLES)]
    List,
    /// Remove people; they are signed out everywhere.
    #[command(after_help = EXAMPLES)]
    Remove {
        /// Who.
        #[arg(required = true)]
        names: Vec<String>,
    },
}

impl UserVerb {
    pub async fn run(self, center: &Center) -> Result<(), Failure> {
        match self {
            Self::Add { name, senior } => {
                let spec = UserSpec { password: password(&name)?, name, senior };
                show(center, &center.ask(center.calls.set_user(&spec)).await?)
            }
            Self::List => {
                let list = center.ask(center.calls.users()).await?;
                if center.json { out::json(&list) } else { print(&list.users) }
            }
            Self::Remove { names } => {
                each(&names, async |name| show(center, &center.ask(center.calls.delete_user(name)).await?))
                    .await
            }
        }
    }
}

fn show(center: &Center, user: &UserResource) -> Result<(), Failure> {
    if center.json { out::json(user) } else { print(std::slice::from_ref(user)) }
}

fn print(users: &[UserResource]) -> Result<(), Failure> {
    let senior = |user: &UserResource| if user.senior { "senior" } else { "" }.to_owned();
    let row = |user: &UserResource| vec![table::short(&user.name), senior(user)];
    Table::new(&["NAME", "RANK"]).print(&users.iter().map(row).collect::<Vec<_>>())
}

/// The first line of standard input. At a terminal it is asked for, and not shown while it is typed.
fn password(name: &str) -> Result<String, Failure> {
    let unreadable =
        |error: std::io::Error| Failure::Misused(format!("the password cannot be read: {error}"));
    let mut line = String::new();
    if stdin().is_terminal() {
        let mut prompt = std::io::stderr();
        write!(prompt, "Password for {name}: ").map_err(unreadable)?;
        let shown = tcgetattr(stdin()).map_err(|error| unreadable(error.into()))?;
        let mut hidden = shown.clone();
        hidden.local_modes.remove(LocalModes::ECHO);
        tcsetattr(stdin(), OptionalActions::Flush, &hidden).map_err(|error| unreadable(error.into()))?;
        let read = stdin().read_line(&mut line);
        let restored = tcsetattr(stdin(), OptionalActions::Flush, &shown);
        let _ = writeln!(prompt);
        read.map_err(unreadable)?;
        restored.map_err(|error| unreadable(error.into()))?;
    } else {
        stdin().read_line(&mut line).map_err(unreadable)?;
    }
    Ok(line.trim_end_matches(['\n', '\r']).to_owned())
}
