//! The JSON schema of the configuration, for editors.

/// The schema, generated from the types that read the configuration.
pub fn json_schema() -> serde_json::Value {
    schemars::schema_for!(super::raw::Raw).to_value()
}
