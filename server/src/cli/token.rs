//! `token`: who gets in.

use clap::{Args, Subcommand};
use jiff::Timestamp;
use taskcenter_client::resources::{IssuedToken, NewToken, TokenResource};
use taskcenter_server::adapters::entropy;
use taskcenter_server::engine::service::generate_token;

use super::exit::Failure;
use super::out;
use super::remote::{Center, Remote, each};
use super::table::{self, Table};
use super::when;

pub const EXAMPLES: &str = "\
Examples:
  taskcenter token add ci --scope task:write
  taskcenter token add shop-worker --scope run:pull --tag order.close --tag mail --expires-in 90d
  taskcenter token list
  taskcenter token revoke 5f0c1d2e3a4b5c6d
  taskcenter token draw

On the server's own machine these verbs need no token, unless access.required is \"always\". To begin with elsewhere,
`token draw` makes one without a server, with the key access.admin_token_sha256 for its configuration.";

#[derive(Debug, Subcommand)]
pub enum TokenVerb {
    /// Make a token; its text is told this once.
    #[command(after_help = EXAMPLES)]
    Add(Add),
    /// List the tokens, without their secrets.
    #[command(after_help = EXAMPLES)]
    List,
    /// End tokens, on every node within two seconds.
    #[command(after_help = EXAMPLES)]
    Revoke {
        /// The tokens.
        #[arg(required = true, value_name = "ID")]
        ids: Vec<String>,
    },
    /// Draw a token that allows everything, without asking a server, and the key that makes one know it.
    #[command(after_help = EXAMPLES)]
    Draw,
}

/// A token to make.
#[derive(Debug, Args)]
pub struct Add {
    /// Who or what it is for.
    #[arg(value_name = "NAME")]
    name: String,
    /// What it allows: task:read, task:write, run:pull or admin; may be repeated.
    #[arg(long = "scope", required = true, value_name = "SCOPE")]
    scopes: Vec<String>,
    /// Only for tasks, runs and queues of this name; may be repeated. Left out: for all.
    #[arg(long = "tag", value_name = "TAG")]
    tags: Vec<String>,
    /// From when on it holds no more.
    #[arg(long, value_name = "TIME", value_parser = when::instant, conflicts_with = "expires_in")]
    until: Option<Timestamp>,
    /// How long it holds.
    #[arg(long, value_name = "DURATION", value_parser = when::duration_ms)]
    expires_in: Option<u64>,
}

impl Add {
    fn new_token(self) -> NewToken {
        let after = |ms: u64| {
            let end = when::now().as_millisecond().saturating_add_unsigned(ms);
            Timestamp::from_millisecond(end).unwrap_or(Timestamp::MAX)
        };
        let expires_at = self.until.or(self.expires_in.map(after));
        NewToken { name: self.name, scopes: self.scopes, tags: self.tags, expires_at }
    }
}

impl TokenVerb {
    /// Does it; all but one ask the server.
    pub fn run(self, remote: Remote) -> Result<(), Failure> {
        match self {
            Self::Draw => draw(),
            Self::Add(add) => remote.run(async |center| issue(&center, &add.new_token()).await),
            Self::List => remote.run(async |center| list(&center).await),
            Self::Revoke { ids } => {
                remote.run(async |center| each(&ids, async |id| revoke(&center, id).await).await)
            }
        }
    }
}

fn draw() -> Result<(), Failure> {
    let (text, sha256) = generate_token(entropy::fill).map_err(|error| Failure::Failed(error.to_string()))?;
    eprintln!(
        "Keep the first line: it is the token. Give the second to the server, as a variable or in its file, and start it."
    );
    out::line(&text)?;
    out::line(format_args!("TASKCENTER__ACCESS__ADMIN_TOKEN_SHA256={sha256}"))
}

async fn issue(center: &Center, new: &NewToken) -> Result<(), Failure> {
    let issued: IssuedToken = center.ask(center.calls.issue_token(new)).await?;
    if center.json {
        return out::json(&issued);
    }
    eprintln!("token {} for {}; it is shown this once:", issued.about.id, table::clean(&issued.about.name));
    out::line(&issued.token)
}

async fn list(center: &Center) -> Result<(), Failure> {
    let list = center.ask(center.calls.tokens()).await?;
    if center.json {
        return out::json(&list);
    }
    if list.tokens.is_empty() {
        eprintln!("no tokens");
    }
    let rows: Vec<_> = list.tokens.iter().map(row).collect();
    Table::new(&["ID", "NAME", "SCOPES", "TAGS", "MADE", "HOLDS UNTIL"]).print(&rows)
}

fn row(token: &TokenResource) -> Vec<String> {
    let now = when::now();
    vec![
        token.id.clone(),
        table::short(&token.name),
        token.scopes.join(" "),
        if token.tags.is_empty() { "all".to_owned() } else { table::short(&token.tags.join(" ")) },
        when::both(token.created_at, now),
        table::or_dash(token.expires_at.map(|end| when::both(end, now))),
    ]
}

async fn revoke(center: &Center, id: &str) -> Result<(), Failure> {
    let token = center.ask(center.calls.revoke_token(id)).await?;
    if center.json {
        return out::json(&token);
    }
    out::line(format_args!("revoked {} {}", token.id, table::clean(&token.name)))
}
