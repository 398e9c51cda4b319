//! A name server and a broker that accept only TLS with a client certificate. The broker also demands
//! an access key.

use std::fs;
use std::path::{Path, PathBuf};

use taskcenter_rocketmq::{Client, ClientConfig, Credentials, Tls};
use tempfile::TempDir;

use super::cluster::{broker_config, free, java, listens};
use super::server::Server;
use super::{Version, setting, until, workspace};

/// Access key and secret key of the only user.
pub const KEYS: (&str, &str) = ("secure", "secure12345");

/// Processes of the cluster. A drop kills them.
pub struct SecureCluster {
    _broker: Server,
    _name_server: Server,
    address: String,
    _dir: TempDir,
}

impl SecureCluster {
    /// Starts the servers and waits until the name server knows the broker.
    pub async fn start() -> Self {
        let dir = tempfile::tempdir().expect("the temporary directory is writable");
        let (jars, properties) = (Version::Five.jars(), tls_properties(dir.path()));
        let (name_server_port, port) = (free(1), free(4) + 2);
        let start = |name, class, memory: &str, config: &str| {
            let home = dir.path().join(name);
            Server::start(name, &java(&home, &jars, class, memory, config, &properties), &home)
        };
        let config = format!("listenPort={name_server_port}\nbindAddress=127.0.0.1\n");
        let name_server = start("namesrv", "namesrv.NamesrvStartup", "64m", &config);
        listens("the name server", name_server_port).await;
        let identity = "brokerName=a\nbrokerId=0\nbrokerRole=ASYNC_MASTER\n";
        let config = broker_config(&dir.path().join("broker"), port, name_server_port, identity);
        let broker = start("broker", "broker.BrokerStartup", "256m", &(config + &acl_config()));
        let address = format!("127.0.0.1:{name_server_port}");
        let cluster = Self { _broker: broker, _name_server: name_server, address, _dir: dir };
        cluster.is_complete().await;
        cluster
    }

    /// Returns the settings of a client with its certificate and its keys.
    pub fn config(&self) -> ClientConfig {
        let credentials = Credentials::new(KEYS.0, KEYS.1);
        ClientConfig::new(&self.address).credentials(credentials).tls(tls())
    }

    async fn is_complete(&self) {
        let client = Client::new(self.config()).expect("the configuration is valid");
        until("the name server knows the broker", async || client.refresh_route("TBW102").await.is_ok())
            .await;
        client.close().await;
    }
}

/// Returns the TLS settings of a client with its certificate.
pub fn tls() -> Tls {
    let client_certificate = Some((certificate("server.pem"), certificate("server.key")));
    Tls { ca_file: Some(certificate("ca.pem")), client_certificate, ..Tls::default() }
}

/// Returns a file of the test certificates. The certificate of the servers is also that of the client.
fn certificate(name: &str) -> PathBuf {
    let ca = workspace().join("target/services/tls/ca.pem");
    let ca = setting("TASKCENTER_TEST_ROCKETMQ_TLS_CA", &ca.to_string_lossy());
    let file = Path::new(&ca).with_file_name(name);
    assert!(file.is_file(), "{} is missing: run `cargo xtask services up`", file.display());
    file
}

fn tls_properties(dir: &Path) -> Vec<String> {
    let [ca, server, key] =
        ["ca.pem", "server.pem", "server.key"].map(|name| certificate(name).display().to_string());
    let config = format!(
        "tls.test.mode.enable=false\n\
         tls.server.need.client.auth=require\ntls.server.authClient=true\ntls.server.trustCertPath={ca}\n\
         tls.server.keyPath={key}\ntls.server.certPath={server}\n\
         tls.client.authServer=true\ntls.client.trustCertPath={ca}\n\
         tls.client.keyPath={key}\ntls.client.certPath={server}\n"
    );
    let file = dir.join("tls.properties");
    fs::write(&file, config).expect("the directory is writable");
    let file = format!("-Dtls.config.file={}", file.display());
    vec!["-Dtls.server.mode=enforcing".into(), "-Dtls.enable=true".into(), file]
}

fn acl_config() -> String {
    let (access, secret) = KEYS;
    let provider = "org.apache.rocketmq.auth";
    format!(
        "authenticationEnabled=true\n\
         authenticationProvider={provider}.authentication.provider.DefaultAuthenticationProvider\n\
         authenticationMetadataProvider={provider}.authentication.provider.LocalAuthenticationMetadataProvider\n\
         initAuthenticationUser={{\"username\":\"{access}\",\"password\":\"{secret}\"}}\n\
         innerClientAuthenticationCredentials={{\"accessKey\":\"{access}\",\"secretKey\":\"{secret}\"}}\n\
         authorizationEnabled=true\n\
         authorizationProvider={provider}.authorization.provider.DefaultAuthorizationProvider\n\
         authorizationMetadataProvider={provider}.authorization.provider.LocalAuthorizationMetadataProvider\n"
    )
}
