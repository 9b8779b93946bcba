//! The OpenAPI 3.1 document, made from the table. Its schemas are JSON Schema 2020-12, as the version wants them.

use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use super::calls::calls;
use super::table::{Answer, Call, Who};
use greenroom_core::api;

/// The document.
#[must_use]
pub fn document() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|s| s.definitions_path = "/components/schemas".into());
    let mut generator = settings.into_generator();
    let problem = generator.subschema_for::<api::Problem>();
    let mut paths: Map<String, Value> = Map::new();
    for call in calls() {
        let operation = operation(&call, &mut generator, &problem);
        let at = paths.entry(call.path.to_owned()).or_insert_with(|| json!({}));
        at[call.method] = operation;
    }
    let schemas = generator.take_definitions(true);
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Greenroom control plane",
            "version": "1",
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "token": { "type": "http", "scheme": "bearer" },
                "certificate": { "type": "mutualTLS" },
            },
        },
    })
}

fn operation(call: &Call, generator: &mut schemars::SchemaGenerator, problem: &schemars::Schema) -> Value {
    let (security, role) = match call.who {
        Who::Person(role) => (json!([{ "token": [] }]), format!("Role: {}.", role.as_str())),
        Who::Agent => (json!([{ "certificate": [] }]), "For agents.".to_owned()),
        Who::Anybody => (json!([]), "Needs no token in the header.".to_owned()),
    };
    let parameters: Vec<Value> = call
        .path
        .split('/')
        .filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
        .map(|name| json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" } }))
        .collect();
    let good = match &call.answer {
        Answer::Json(shape) => content("application/json", &shape(generator)),
        Answer::Events(shape) => content("text/event-stream", &shape(generator)),
        Answer::Bytes => json!({ "description": "", "content": { "application/octet-stream": {} } }),
        Answer::Stream => json!({ "description": "the connection becomes a stream" }),
    };
    let status = if matches!(call.answer, Answer::Stream) { "101" } else { "200" };
    let mut out = json!({
        "summary": call.about,
        "description": role,
        "security": security,
        "parameters": parameters,
        "responses": { status: good, "default": content("application/json", problem) },
    });
    if let Some(body) = call.body {
        out["requestBody"] = json!({
            "required": true,
            "content": { "application/json": { "schema": body(generator) } },
        });
    }
    out
}

fn content(kind: &str, schema: &schemars::Schema) -> Value {
    json!({ "description": "", "content": { kind: { "schema": schema } } })
}
