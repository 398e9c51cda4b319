//! `service`: services that the built-in worker `callback` calls.

use clap::Subcommand;
use taskcenter_client::resources::{ServiceHealth, ServiceNode, ServiceResource, ServiceSpec};

use super::client::{Client, for_each_id};
use super::exit::{Failure, Thing};
use super::table::{self, Column, Table};
use super::{output, time};

pub const EXAMPLES: &str = "\
A task in the queue `callback` names the service that it calls. A service that
exists already is replaced; without TASKCENTER_SERVICE_SECRET it keeps its
secret. DOWN counts the nodes that did not answer their health check, as the
callback workers inside the server see them; -: no such worker checks them.

Examples:
  taskcenter service put shop http://10.1.0.5:8080 http://10.1.0.6:8080
  taskcenter service get shop
  taskcenter service list
  taskcenter service delete shop";

#[derive(Debug, Subcommand)]
pub enum ServiceCommand {
    /// Create a service, or replace the service with the same name.
    #[command(after_help = EXAMPLES)]
    Put {
        /// Name of the service, 1 to 256 bytes.
        name: String,
        /// Base URLs of the nodes.
        #[arg(required = true, value_name = "URL")]
        nodes: Vec<String>,
        /// Path of the health check, such as /health. Default: no check.
        #[arg(long, value_name = "PATH")]
        health_path: Option<String>,
        /// Time limit of a callback whose task sets none. Default: callback.timeout_ms of the worker.
        #[arg(long, value_name = "DURATION", value_parser = time::parse_duration_ms, allow_hyphen_values = true)]
        timeout: Option<u64>,
    },
    /// Show all fields of a service.
    #[command(after_help = EXAMPLES)]
    Get {
        /// Name of the service.
        name: String,
    },
    /// List all services.
    #[command(after_help = EXAMPLES)]
    List,
    /// Delete services. Their callbacks fail from now on.
    #[command(after_help = EXAMPLES)]
    Delete {
        /// Names of the services.
        #[arg(required = true, value_name = "NAME")]
        names: Vec<String>,
    },
}

impl ServiceCommand {
    pub async fn run(self, client: &Client) -> Result<(), Failure> {
        let api = &client.api;
        match self {
            Self::Put { name, nodes, health_path, timeout } => {
                let spec = spec(name, nodes, health_path, timeout);
                print_service(client, &client.call(api.put_service(&spec)).await?)
            }
            Self::Get { name } => {
                let found = client.call(api.service(&name)).await;
                print_service(client, &found.map_err(|failure| failure.about(Thing::Service, &name))?)
            }
            Self::List => list(client).await,
            Self::Delete { names } => {
                for_each_id(Thing::Service, &names, async |name| {
                    let deleted = client.call(api.delete_service(name)).await?;
                    if client.json {
                        return output::print_json(&deleted);
                    }
                    output::print_line(format_args!("deleted {}", table::escape(&deleted.name)))
                })
                .await
            }
        }
    }
}

/// The secret comes from the environment, because other users can read program arguments.
fn spec(name: String, nodes: Vec<String>, health_path: Option<String>, timeout: Option<u64>) -> ServiceSpec {
    ServiceSpec {
        name,
        nodes: nodes.into_iter().map(|url| ServiceNode { url, weight: 1, heartbeat: false }).collect(),
        health: health_path.map(|path| ServiceHealth { path, interval_ms: None }),
        timeout_ms: timeout,
        secret: std::env::var("TASKCENTER_SERVICE_SECRET").ok(),
    }
}

async fn list(client: &Client) -> Result<(), Failure> {
    let list = client.call(client.api.services()).await?;
    if client.json {
        return output::print_json(&list);
    }
    if list.services.is_empty() {
        eprintln!("no services");
    }
    let row = |service: &ServiceResource| {
        vec![
            table::truncate(&service.name),
            service.nodes.len().to_string(),
            if service.checked_by.is_empty() { "-".to_owned() } else { service.down.len().to_string() },
            if service.signed { "yes" } else { "no" }.to_owned(),
            table::truncate(&urls(service)),
        ]
    };
    let columns = vec![
        Column::text("NAME"),
        Column::fixed("NODES"),
        Column::fixed("DOWN"),
        Column::fixed("SIGNED"),
        Column::text("URLS"),
    ];
    Table::new(client.screen, columns).print(list.services.iter().map(row))
}

fn urls(service: &ServiceResource) -> String {
    service.nodes.iter().map(|node| node.url.as_str()).collect::<Vec<_>>().join(" ")
}

fn print_service(client: &Client, service: &ServiceResource) -> Result<(), Failure> {
    if client.json {
        return output::print_json(service);
    }
    let health = service.health.as_ref().map(|health| table::escape(&health.path));
    let timeout = service.timeout_ms.map(|ms| time::format_duration(ms as i64));
    table::print_fields(&[
        ("name", table::escape(&service.name)),
        ("nodes", table::escape(&urls(service))),
        ("health", table::or_dash(health)),
        ("timeout", table::or_dash(timeout)),
        ("signed", if service.signed { "yes" } else { "no" }.to_owned()),
        (
            "checked by",
            table::or_dash(Some(table::escape(&service.checked_by.join(" "))).filter(|by| !by.is_empty())),
        ),
    ])?;
    for node in &service.down {
        let since = time::format_local(node.since);
        output::print_line(format_args!(
            "down  {}  since {since}: {}",
            table::escape(&node.url),
            table::escape(&node.reason)
        ))?;
    }
    Ok(())
}
