//! `token`: access tokens.

use clap::{Args, Subcommand};
use taskcenter_client::resources::{IssuedToken, NewToken, TokenResource};
use taskcenter_server::adapters::entropy;
use taskcenter_server::engine::service::generate_token;

use super::client::{Client, ServerOptions, for_each_id};
use super::exit::{Failure, Thing};
use super::expiry::Expiry;
use super::output;
use super::screen::Screen;
use super::table::{self, Column, Table};
use super::time;

pub const EXAMPLES: &str = "\
Calls from the machine of the server need no token, unless access.required is
\"always\". Where no such call is possible, for example in a container, create
the first token with `taskcenter token draw`.

Examples:
  taskcenter token add ci --scope task:write
  taskcenter token add shop --scope run:pull --tag order.close --expires-in 90d
  taskcenter token add import --scope task:write \\
    --max-live-tasks 10000 --max-creates-per-sec 100
  taskcenter token list
  taskcenter token revoke 5f0c1d2e3a4b5c6d
  taskcenter token draw";

#[derive(Debug, Subcommand)]
pub enum TokenCommand {
    /// Create a token and print it once.
    #[command(after_help = EXAMPLES)]
    Add(Add),
    /// List tokens without their secrets.
    #[command(after_help = EXAMPLES)]
    List,
    /// Revoke tokens; every node refuses them within 2 seconds.
    #[command(after_help = EXAMPLES)]
    Revoke {
        /// Ids of the tokens.
        #[arg(required = true, value_name = "ID")]
        ids: Vec<String>,
    },
    /// Create a first admin token without a server, and the configuration that makes it valid.
    #[command(after_help = EXAMPLES)]
    Draw,
}

/// Create a token and print it once.
#[derive(Debug, Args)]
pub struct Add {
    /// Name that identifies the holder of the token in lists and in the audit log, 1 to 128 bytes.
    #[arg(value_name = "NAME")]
    name: String,
    /// Permission of the token: task:read, task:write, run:pull or admin; can be repeated.
    #[arg(long = "scope", required = true, value_name = "SCOPE")]
    scopes: Vec<String>,
    /// Limit the token to tasks, runs and queues with this name; can be repeated, at most 64 times.
    /// Default: no limit.
    #[arg(long = "tag", value_name = "TAG")]
    tags: Vec<String>,
    #[command(flatten)]
    expiry: Expiry,
    /// Maximum number of active and paused tasks that the token has created, 1 to 100000. Default: unlimited.
    #[arg(long, value_name = "NUMBER")]
    max_live_tasks: Option<u32>,
    /// Maximum number of tasks that the token creates per second, 1 to 100000. Default: unlimited.
    #[arg(long, value_name = "NUMBER")]
    max_creates_per_sec: Option<u32>,
}

impl Add {
    fn new_token(self) -> NewToken {
        let expires_at = self.expiry.at();
        let Self { name, scopes, tags, max_live_tasks, max_creates_per_sec, .. } = self;
        NewToken { name, scopes, tags, expires_at, max_live_tasks, max_creates_per_sec }
    }
}

impl TokenCommand {
    /// Runs the command. Only `draw` does not call the server.
    pub fn run(self, server: ServerOptions) -> Result<(), Failure> {
        match self {
            Self::Draw => draw(),
            Self::Add(add) => server.run(async |client| issue(&client, &add.new_token()).await),
            Self::List => server.run(async |client| list(&client).await),
            Self::Revoke { ids } => {
                let revoke_all = async |client: Client| {
                    for_each_id(Thing::Token, &ids, async |id| revoke(&client, id).await).await
                };
                server.run(revoke_all)
            }
        }
    }
}

fn draw() -> Result<(), Failure> {
    let (text, sha256) = generate_token(entropy::fill).map_err(|error| Failure::Failed(error.to_string()))?;
    eprintln!(
        "Line 1 is the token: keep it secret. Line 2 is for the server: set it as an environment\n\
         variable, or as access.admin_token_sha256 in the configuration file, and restart the server."
    );
    output::print_line(&text)?;
    output::print_line(format_args!("TASKCENTER__ACCESS__ADMIN_TOKEN_SHA256={sha256}"))
}

async fn issue(client: &Client, new: &NewToken) -> Result<(), Failure> {
    let issued: IssuedToken = client.call(client.api.issue_token(new)).await?;
    if client.json {
        return output::print_json(&issued);
    }
    let (id, name) = (&issued.about.id, table::escape(&issued.about.name));
    eprintln!("created token {id} for {name}; store it now, it is not shown again:");
    output::print_line(&issued.token)
}

async fn list(client: &Client) -> Result<(), Failure> {
    let list = client.call(client.api.tokens()).await?;
    if client.json {
        return output::print_json(&list);
    }
    if list.tokens.is_empty() {
        eprintln!("no tokens");
    }
    let columns = vec![
        Column::fixed("ID"),
        Column::text("NAME"),
        Column::text("SCOPES"),
        Column::text("TAGS"),
        Column::text("QUOTAS").optional(),
        Column::fixed("CREATED").optional(),
        Column::fixed("EXPIRES"),
    ];
    Table::new(client.screen, columns).print(list.tokens.iter().map(|token| row(client.screen, token)))
}

fn row(screen: Screen, token: &TokenResource) -> Vec<String> {
    let now = time::now();
    vec![
        token.id.clone(),
        table::truncate(&token.name),
        token.scopes.join(" "),
        if token.tags.is_empty() { "all".to_owned() } else { table::truncate(&token.tags.join(" ")) },
        table::or_dash(quotas(token)),
        screen.format_instant(token.created_at, now),
        table::or_dash(token.expires_at.map(|end| screen.format_instant(end, now))),
    ]
}

fn quotas(token: &TokenResource) -> Option<String> {
    let live = token.max_live_tasks.map(|max| format!("{max} live"));
    let creates = token.max_creates_per_sec.map(|max| format!("{max}/s"));
    let quotas: Vec<String> = live.into_iter().chain(creates).collect();
    (!quotas.is_empty()).then(|| quotas.join(", "))
}

async fn revoke(client: &Client, id: &str) -> Result<(), Failure> {
    let token = client.call(client.api.revoke_token(id)).await?;
    if client.json {
        return output::print_json(&token);
    }
    output::print_line(format_args!("revoked {} {}", token.id, table::escape(&token.name)))
}
