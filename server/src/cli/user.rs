//! `user`: users of the console and of the legacy APIs.

use std::io::{IsTerminal, Write as _, stdin};

use clap::Subcommand;
use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
use taskcenter_client::resources::{UserResource, UserSpec};

use super::client::{Client, for_each_id};
use super::exit::{Failure, Thing};
use super::expiry::Expiry;
use super::output;
use super::table::{self, Column, Table};
use super::time;

pub const EXAMPLES: &str = "\
`user add` prompts for the password. Without a terminal, it reads the first line
of standard input. A password has 6 to 1,024 bytes (with a role at least 8), and
is never an argument. For a user that exists, `user add` changes the password
and the given options, and keeps the others.

Examples:
  taskcenter user add li --role operator
  taskcenter user add li --role viewer --keep-password
  taskcenter user add li --role none --keep-password
  taskcenter user add wang --role viewer --tag mail --tag order.close
  taskcenter user add guest --role viewer --expires-in 90d
  taskcenter user add guest --no-expiry --keep-password
  taskcenter user add chief --senior < password.txt
  taskcenter user list
  taskcenter user remove li";

#[derive(Debug, Subcommand)]
pub enum UserCommand {
    /// Create a user, or change a user. Another password ends the user's sessions.
    #[command(after_help = EXAMPLES)]
    Add {
        /// Login name, 1 to 128 bytes.
        name: String,
        /// Role in the console: viewer, operator, admin or none. `none` removes the role and its tags. Default: a
        /// new user uses only the legacy APIs.
        #[arg(long)]
        role: Option<String>,
        /// Limit the role to tasks, runs and queues with this name. Repeat it for several.
        #[arg(long = "tag", value_name = "TAG")]
        tags: Vec<String>,
        /// Remove the limit to tags.
        #[arg(long, conflicts_with = "tags")]
        all_tags: bool,
        /// Allow the user to assign tasks of the claim board to other users. `--senior=false`: no longer.
        #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
        senior: Option<bool>,
        /// Keep the password of a user that exists.
        #[arg(long)]
        keep_password: bool,
        #[command(flatten)]
        expiry: Expiry,
        /// Remove the expiry.
        #[arg(long, conflicts_with_all = ["until", "expires_in"])]
        no_expiry: bool,
    },
    /// List all users.
    #[command(after_help = EXAMPLES)]
    List,
    /// Delete users and end their sessions.
    #[command(after_help = EXAMPLES)]
    Remove {
        /// Login names.
        #[arg(required = true, value_name = "NAME")]
        names: Vec<String>,
    },
}

impl UserCommand {
    pub async fn run(self, client: &Client) -> Result<(), Failure> {
        match self {
            Self::Add { name, role, tags, all_tags, senior, keep_password, expiry, no_expiry } => {
                let password = if keep_password { None } else { Some(read_password(&name)?) };
                let tags = (all_tags || !tags.is_empty()).then_some(tags);
                let expires_at = if no_expiry { Some(None) } else { expiry.at().map(Some) };
                let spec = UserSpec { name, password, senior, role, tags, expires_at };
                print_user(client, &client.call(client.api.set_user(&spec)).await?)
            }
            Self::List => {
                let list = client.call(client.api.users()).await?;
                if client.json {
                    return output::print_json(&list);
                }
                if list.users.is_empty() {
                    eprintln!("no users");
                }
                print_table(client, &list.users)
            }
            Self::Remove { names } => {
                for_each_id(Thing::User, &names, async |name| {
                    print_user(client, &client.call(client.api.delete_user(name)).await?)
                })
                .await
            }
        }
    }
}

fn print_user(client: &Client, user: &UserResource) -> Result<(), Failure> {
    if client.json { output::print_json(user) } else { print_table(client, std::slice::from_ref(user)) }
}

fn print_table(client: &Client, users: &[UserResource]) -> Result<(), Failure> {
    let now = time::now();
    let senior = |user: &UserResource| if user.senior { "yes" } else { "no" }.to_owned();
    let row = |user: &UserResource| {
        let role = user.role.as_deref().unwrap_or("-").to_owned();
        let tags = (!user.tags.is_empty()).then(|| table::truncate(&user.tags.join(",")));
        let expires = table::or_dash(user.expires_at.map(|end| client.screen.format_instant(end, now)));
        vec![table::truncate(&user.name), role, table::or_dash(tags), senior(user), expires]
    };
    let columns = vec![
        Column::text("NAME"),
        Column::fixed("ROLE"),
        Column::text("TAGS"),
        Column::fixed("SENIOR"),
        Column::fixed("EXPIRES"),
    ];
    Table::new(client.screen, columns).print(users.iter().map(row))
}

/// Reads the first line of standard input. On a terminal, prompts first and hides the input.
fn read_password(name: &str) -> Result<String, Failure> {
    let unreadable = |error: std::io::Error| Failure::Misused(format!("cannot read the password: {error}"));
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
