//! A browser of the tests: it keeps cookies, follows no redirect, and sends forms with their tokens.

use std::collections::BTreeMap;
use std::sync::Mutex;

use reqwest::header::{CONTENT_TYPE, COOKIE, HeaderMap, LOCATION, SET_COOKIE};
use reqwest::{Client, Method, RequestBuilder, Response};

use crate::http::Server;

/// An answer to a browser.
pub struct Shown {
    pub status: u16,
    pub headers: HeaderMap,
    pub html: String,
}

impl Shown {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub fn location(&self) -> &str {
        self.header(LOCATION.as_str())
    }

    /// Asserts that the page has a text.
    #[track_caller]
    pub fn has(&self, text: &str) -> &Self {
        assert!(self.html.contains(text), "{} lacks {text:?}:\n{}", self.status, self.html);
        self
    }

    /// Asserts that the page lacks a text.
    #[track_caller]
    pub fn lacks(&self, text: &str) -> &Self {
        assert!(!self.html.contains(text), "{} has {text:?}:\n{}", self.status, self.html);
        self
    }

    /// Returns the hidden fields of the last form of the page.
    pub fn hidden_fields(&self) -> Vec<(String, String)> {
        let form = self.html.rsplit("<form ").next().unwrap();
        let inputs = form.split("<input type=\"hidden\" name=\"").skip(1);
        let field = |input: &str| {
            let (name, rest) = input.split_once("\" value=\"").unwrap();
            (name.to_owned(), unescape(rest.split('"').next().unwrap()))
        };
        inputs.map(field).collect()
    }

    /// Returns the token of the forms of this page.
    pub fn form_token(&self) -> String {
        let begin = "name=\"form_token\" value=\"";
        let at = self.html.find(begin).expect("the page has a form") + begin.len();
        self.html[at..].split('"').next().unwrap().to_owned()
    }
}

/// Returns the text of a piece of HTML.
pub fn unescape(html: &str) -> String {
    let pairs = [("&#34;", "\""), ("&#39;", "'"), ("&#60;", "<"), ("&#62;", ">"), ("&#38;", "&")];
    pairs.iter().fold(html.to_owned(), |text, (escaped, plain)| text.replace(escaped, plain))
}

pub struct Browser<'a> {
    server: &'a Server,
    client: Client,
    cookies: Mutex<BTreeMap<String, String>>,
}

impl<'a> Browser<'a> {
    pub fn new(server: &'a Server) -> Self {
        let client = Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
        Self { server, client, cookies: Mutex::default() }
    }

    pub fn cookie(&self, name: &str) -> Option<String> {
        self.cookies.lock().unwrap().get(name).cloned()
    }

    pub fn set_cookie(&self, name: &str, value: &str) {
        self.cookies.lock().unwrap().insert(name.to_owned(), value.to_owned());
    }

    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("http://{}{path}", self.server.address))
    }

    fn with_cookies(&self, request: RequestBuilder) -> RequestBuilder {
        let cookies = self.cookies.lock().unwrap().clone();
        let line: Vec<String> = cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        if line.is_empty() { request } else { request.header(COOKIE, line.join("; ")) }
    }

    /// Requests a path, and returns the answer with its body unread.
    pub async fn open(&self, path: &str) -> Response {
        self.with_cookies(self.request(Method::GET, path)).send().await.unwrap()
    }

    pub async fn send(&self, request: RequestBuilder) -> Shown {
        let response = self.with_cookies(request).send().await.unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        self.keep(&headers);
        Shown { status, headers, html: response.text().await.unwrap() }
    }

    fn keep(&self, headers: &HeaderMap) {
        let mut cookies = self.cookies.lock().unwrap();
        for line in headers.get_all(SET_COOKIE) {
            let line = line.to_str().unwrap();
            assert!(line.contains("; HttpOnly; SameSite=Strict"), "{line}");
            let (name, value) = line.split(';').next().unwrap().split_once('=').unwrap();
            match value {
                "" => drop(cookies.remove(name)),
                value => drop(cookies.insert(name.to_owned(), value.to_owned())),
            }
        }
    }

    pub async fn get(&self, path: &str) -> Shown {
        self.send(self.request(Method::GET, path)).await
    }

    /// Sends a form as it is.
    pub async fn post_raw(&self, path: &str, fields: &[(&str, &str)]) -> Shown {
        let mut body = form_urlencoded::Serializer::new(String::new());
        body.extend_pairs(fields);
        let request = self.request(Method::POST, path);
        let request = request.header(CONTENT_TYPE, "application/x-www-form-urlencoded");
        self.send(request.body(body.finish())).await
    }

    /// Opens the page `from`, and sends a form with the token of that page.
    pub async fn post(&self, from: &str, path: &str, fields: &[(&str, &str)]) -> Shown {
        let token = self.get(from).await.form_token();
        let token = [("form_token", token.as_str())];
        self.post_raw(path, &[&token, fields].concat()).await
    }

    /// Signs in as a user.
    pub async fn sign_in_as(&self, user: &str, password: &str) -> Shown {
        let fields = [("user", user), ("password", password)];
        self.post("/console/sign-in", "/console/sign-in", &fields).await
    }

    /// Signs in with a token.
    pub async fn sign_in(&self, token: &str) -> Shown {
        self.post("/console/sign-in", "/console/sign-in", &[("token", token)]).await
    }
}
