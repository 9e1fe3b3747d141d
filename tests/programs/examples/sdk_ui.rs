//! Tells and asks people through the SDK.

use portreeve_sdk::{Error, Json, plugin, tool, ui};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What is asked.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct Trip {
    /// Where it goes.
    place: String,
    /// How long it takes.
    days: u32,
    /// Whether it may cost.
    #[serde(default)]
    first_class: Option<bool>,
}

/// Plans a trip.
#[tool]
fn plan() -> Result<Json<Option<Trip>>, Error> {
    ui::info("Planning").body("Where you want to go").send()?;
    Ok(Json(
        ui::ask::<Trip>("Where do you want to go?")?.accepted(),
    ))
}

plugin!(plan);
