//! Asks the client through the SDK, and writes to its log.

use portreeve_sdk::client::{self, Inputs, Kind, Level, Sampling};
use portreeve_sdk::{Error, Json, plugin, tool, ui};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Who is asked.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct Who {
    /// A name.
    name: String,
}

/// Lets the model answer.
#[tool]
fn answer(
    /// What it is asked.
    question: String,
) -> Result<String, Error> {
    client::log(Level::Notice, &serde_json::json!({"asking": question}))?;
    let request = Sampling::new(100)
        .system("Be brief.")
        .temperature(0.5)
        .stop_before(&["."]);
    let reply = request.user(question).send()?;
    Ok(format!("{}: {}", reply.model, reply.text))
}

/// What came of several things.
#[derive(Serialize, JsonSchema)]
struct Everything {
    /// What the client can give.
    can: Vec<bool>,
    /// Who answered.
    who: Option<Who>,
    /// What the model says.
    greeting: String,
    /// Where the client works.
    places: Vec<String>,
}

/// Asks for everything at once.
#[tool]
fn everything() -> Result<Json<Everything>, Error> {
    let kinds = [Kind::Question, Kind::Sampling, Kind::Roots];
    let mut given = Inputs::new()
        .question::<Who>("who", "What is your name?")
        .sampling("greeting", Sampling::new(50).user("Write a greeting"))
        .roots("places")
        .gather()?;
    let who: ui::Answer<Who> = given.answer("who")?;
    Ok(Json(Everything {
        can: kinds.into_iter().map(client::can).collect(),
        who: who.accepted(),
        greeting: given.reply("greeting")?.text,
        places: given
            .roots("places")?
            .into_iter()
            .map(|root| root.uri)
            .collect(),
    }))
}

plugin!(answer, everything);
