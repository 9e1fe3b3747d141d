use proptest::prelude::*;

use super::*;
use crate::body::Body;
use crate::oauth::KeepToken;

/// Where nothing goes: what these kinds need they have.
struct Nowhere;

#[async_trait::async_trait]
impl Exchange for Nowhere {
    async fn send(&self, _: Request<Body>) -> Result<http::Response<Body>, GateError> {
        panic!("nothing is to be sent");
    }
}

#[async_trait::async_trait]
impl KeepToken for Nowhere {
    async fn keep(&self, _: &SecretId, _: &Zeroizing<String>) -> Result<(), String> {
        panic!("nothing is to be kept");
    }
}

fn credential(kind: &str, fields: &[(&str, &str)]) -> Result<Credential, GateError> {
    let id = SecretId {
        name: "mine".to_owned(),
        version: 1,
    };
    let fields = fields
        .iter()
        .map(|(name, text)| ((*name).to_owned(), Zeroizing::new((*text).to_owned())));
    Credential::new(kind, id, fields, &Tokens::new(Arc::new(Nowhere)))
}

fn used(place: Option<Place>) -> CredentialUse {
    CredentialUse {
        name: "it".parse().unwrap(),
        place,
    }
}

fn header(name: &str) -> Option<Place> {
    Some(Place::Header(name.to_owned()))
}

fn query(name: &str) -> Option<Place> {
    Some(Place::Query(name.to_owned()))
}

/// A request on which the guest has tried it all.
fn request() -> Request<()> {
    Request::get("https://api.example.com/v1/items?key=guest&page=2")
        .header("authorization", "Bearer guest")
        .header("authorization", "Basic guest")
        .header("x-api-key", "guest")
        .header("x-key", "guest")
        .header("accept", "text/plain")
        .body(())
        .unwrap()
}

async fn applied(
    credential: &Credential,
    place: Option<Place>,
    mut request: Request<()>,
) -> Result<Request<()>, GateError> {
    let nowhere: Arc<dyn Exchange> = Arc::new(Nowhere);
    let applied = credential
        .apply(&used(place), &mut request, &nowhere)
        .await?;
    assert!(!credential.renew(&applied));
    Ok(request)
}

#[tokio::test]
async fn each_kind_goes_where_it_belongs() {
    let key = || credential("api-key", &[("value", "s3cret-é")]).unwrap();
    let bearer = || credential("bearer", &[("value", "t0ken")]).unwrap();
    let basic =
        |user, password| credential("basic", &[("user", user), ("password", password)]).unwrap();
    for (credential, place, name, value) in [
        (key(), None, "x-api-key", "s3cret-é"),
        (key(), header("x-key"), "x-key", "s3cret-é"),
        (key(), header("authorization"), "authorization", "s3cret-é"),
        (bearer(), None, "authorization", "Bearer t0ken"),
        (
            bearer(),
            header("authorization"),
            "authorization",
            "Bearer t0ken",
        ),
        // The examples of RFC 7617, sections 2 and 2.1.
        (
            basic("Aladdin", "open sesame"),
            None,
            "authorization",
            "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==",
        ),
        (
            basic("test", "123£"),
            None,
            "authorization",
            "Basic dGVzdDoxMjPCow==",
        ),
    ] {
        let request = applied(&credential, place, request()).await.unwrap();
        let values: Vec<_> = request.headers().get_all(name).iter().collect();
        assert_eq!(values.len(), 1, "{name}");
        assert_eq!(values[0].as_bytes(), value.as_bytes());
        assert!(values[0].is_sensitive());
        // All else stays.
        assert_eq!(request.headers()["accept"], "text/plain");
        assert_eq!(request.uri().query(), Some("key=guest&page=2"));
    }
    let request = applied(&key(), query("key"), request()).await.unwrap();
    assert_eq!(
        request.uri(),
        "https://api.example.com/v1/items?page=2&key=s3cret-%C3%A9"
    );
    assert_eq!(request.headers()["x-api-key"], "guest");
}

#[tokio::test]
async fn what_does_not_belong_there_is_refused() {
    let bearer = credential("bearer", &[("value", "CANARY")]).unwrap();
    let key = credential("api-key", &[("value", "CANARY")]).unwrap();
    let long = credential("api-key", &[("value", &"CANARY".repeat(20_000))]).unwrap();
    for (credential, place, said) in [
        (
            &bearer,
            header("x-key"),
            "always goes in the header authorization",
        ),
        (&bearer, query("key"), "api-key"),
        (&key, header("no header"), "can't go into a header"),
        (&long, query("key"), "does not fit"),
    ] {
        let before = request();
        let error = applied(credential, place, before).await.unwrap_err();
        assert_eq!(*error.kind(), GateErrorKind::Credential);
        assert!(error.to_string().contains(said), "{error}");
        assert!(!error.to_string().contains("CANARY"), "{error}");
        assert!(error.to_string().contains("`mine`"), "{error}");
    }
}

#[test]
fn bad_values_are_refused_and_not_shown() {
    type Given<'a> = &'a [(&'a str, &'a str)];
    let cases: &[(&str, Given, &str)] = &[
        ("api-key", &[], "has no `value`"),
        ("api-key", &[("value", "")], "has no `value`"),
        (
            "api-key",
            &[("value", "CANARY\r\nx-admin: 1")],
            "control character",
        ),
        ("bearer", &[("value", "CANARY\n")], "control character"),
        ("bearer", &[("value", "CANARY\0")], "control character"),
        ("bearer", &[("value", "CANARY\u{7f}")], "control character"),
        ("bearer", &[("value", "CANARY\u{85}")], "control character"),
        ("bearer", &[("value", "CANARY\t")], "control character"),
        (
            "basic",
            &[("user", "u"), ("password", "CANARY\n")],
            "`password`",
        ),
        (
            "basic",
            &[("user", "CANARY:x"), ("password", "p")],
            "a colon",
        ),
        ("basic", &[("user", "CANARY")], "has no `password`"),
        ("ssh-key", &[("key", "CANARY")], "no request is made with"),
        ("certificate", &[("certificate", "CANARY")], "has no `key`"),
        (
            "certificate",
            &[("certificate", "CANARY"), ("key", "CANARY")],
            "needs 1 to 16 certificates",
        ),
        (
            "certificate",
            &[
                ("certificate", "-----BEGIN CERTIFICATE-----\nCANARY\n"),
                ("key", "CANARY"),
            ],
            "no PEM",
        ),
    ];
    for (kind, fields, said) in cases {
        let error = credential(kind, fields).unwrap_err();
        assert_eq!(*error.kind(), GateErrorKind::Credential);
        assert!(error.to_string().contains(said), "{said}: {error}");
        assert!(!format!("{error} {error:?}").contains("CANARY"), "{error}");
    }
}

fn certificate() -> (String, String) {
    let made = rcgen::generate_simple_self_signed(["client.example".to_owned()]).unwrap();
    (made.cert.pem(), made.signing_key.serialize_pem())
}

#[tokio::test]
async fn a_certificate_is_shown_over_tls_alone() {
    let (chain, key) = certificate();
    let (other_chain, other_key) = certificate();
    let make =
        |chain: &str, key: &str| credential("certificate", &[("certificate", chain), ("key", key)]);
    let mine = make(&chain, &key).unwrap();
    assert_eq!(mine.identity(), make(&chain, &key).unwrap().identity());
    assert_ne!(
        mine.identity(),
        make(&other_chain, &other_key).unwrap().identity()
    );
    assert!(make(&format!("{chain}{other_chain}"), &key).is_ok());

    let after = applied(&mine, None, request()).await.unwrap();
    assert_eq!(after.headers(), request().headers());
    assert_eq!(after.uri(), request().uri());
    let mut plain = request();
    *plain.uri_mut() = "http://api.example.com/".parse().unwrap();
    let error = applied(&mine, None, plain).await.unwrap_err();
    assert!(error.to_string().contains("https://"), "{error}");
    let error = applied(&mine, header("x-key"), request())
        .await
        .unwrap_err();
    assert!(
        error.to_string().contains("with the TLS connection"),
        "{error}"
    );

    let encrypted = key.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY");
    let junk = "-----BEGIN PRIVATE KEY-----\nQ0FOQVJZ\n-----END PRIVATE KEY-----\n";
    for (chain, key, said) in [
        (&chain, &other_key, "not its certificate's"),
        (&chain, &encrypted, "no private key"),
        (&chain, &junk.to_owned(), "of a kind that TLS can't use"),
        (&chain, &chain, "no private key"),
        (&chain.repeat(17), &key, "1 to 16"),
    ] {
        let error = make(chain, key).unwrap_err().to_string();
        assert!(error.contains(said), "{said}: {error}");
    }
}

#[test]
fn nothing_is_shown() {
    let (chain, key) = certificate();
    let client = [
        ("token-url", "https://a.example/CANARY"),
        ("client-id", "CANARY"),
        ("client-secret", "CANARY"),
        ("refresh-token", "CANARY"),
    ];
    for credential in [
        credential("api-key", &[("value", "CANARY")]),
        credential("bearer", &[("value", "CANARY")]),
        credential("basic", &[("user", "CANARY"), ("password", "CANARY")]),
        credential("certificate", &[("certificate", &chain), ("key", &key)]),
        credential("oauth2-client-credentials", &client[..3]),
        credential("oauth2-refresh-token", &client),
    ] {
        let shown = format!("{:?}", credential.unwrap());
        assert!(shown.starts_with("Credential(secret `mine`"), "{shown}");
        assert!(!shown.contains("CANARY") && shown.len() < 60, "{shown}");
    }
    // As it is when a request is shown.
    let value = secret_header(&["CANARY"]).unwrap();
    assert_eq!(format!("{value:?}"), "Sensitive");
}

proptest! {
    #[test]
    fn basic_is_read_back(user in "[^:\\p{Cc}]{1,40}", password in "\\P{Cc}{1,40}") {
        let value = basic(&user, &password).unwrap();
        let encoded = value.to_str().unwrap().strip_prefix("Basic ").unwrap();
        let plain = String::from_utf8(BASE64_STANDARD.decode(encoded).unwrap()).unwrap();
        prop_assert_eq!(plain.split_once(':'), Some((user.as_str(), password.as_str())));
    }

    #[test]
    fn any_value_makes_a_header_or_an_error(value in ".{0,20}|[\\x00-\\x20]{0,3}") {
        for kind in ["api-key", "bearer"] {
            let made = credential(kind, &[("value", &value)]);
            let fine = !value.is_empty() && !value.chars().any(char::is_control);
            prop_assert_eq!(made.is_ok(), fine);
        }
    }
}
