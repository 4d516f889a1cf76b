//! Look-ups in the networks that services bridge to.
//! [Spec](https://spec.matrix.org/v1.19/application-service-api/#third-party-networks).

use std::{collections::BTreeMap, time::Duration};

use http::Method;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tracing::debug;

use crate::{
    ApplicationServices, Service,
    client::{Call, Fallback},
};

/// How long one service may take; clients wait for the slowest.
const TIME: Duration = Duration::from_secs(10);

/// Things looked up at one service, at most.
const MAX_FOUND: usize = 1_000;

impl ApplicationServices {
    /// The networks that services bridge to, by name, each as its services describe it. Instances bear an `instance_id`,
    /// by which clients list the rooms of one network.
    pub async fn protocols(&self) -> BTreeMap<String, Value> {
        let mut protocols = BTreeMap::new();
        let names = self.all().iter();
        for name in names.flat_map(|service| &service.registration().protocols) {
            if !protocols.contains_key(name)
                && let Some(protocol) = self.protocol(name).await
            {
                protocols.insert(name.clone(), protocol);
            }
        }
        protocols
    }

    /// One network: as its first service describes it, with the instances of all.
    pub async fn protocol(&self, name: &str) -> Option<Value> {
        let mut found: Option<Value> = None;
        for service in self.bridges(name) {
            let path = ["thirdparty", "protocol", name];
            let Some(mut described) = self.ask::<Value>(service, &path, &[]).await else {
                continue;
            };
            let instances = described.get_mut("instances").map(Value::take);
            let mut instances = match instances {
                Some(Value::Array(instances)) => instances,
                _ => Vec::new(),
            };
            for instance in &mut instances {
                let Some(network) = instance["network_id"].as_str() else {
                    continue;
                };
                instance["instance_id"] = format!("{}|{network}", service.id()).into();
            }
            match &mut found {
                Some(protocol) => {
                    if let Some(known) = protocol["instances"].as_array_mut() {
                        known.append(&mut instances);
                    }
                }
                None if described.is_object() => {
                    described["instances"] = instances.into();
                    found = Some(described);
                }
                None => {}
            }
        }
        found
    }

    /// Locations or users (`kind`) of a network, by fields that its services know; `None` where no service bridges it.
    pub async fn third_party<T: DeserializeOwned>(
        &self,
        kind: &str,
        protocol: &str,
        fields: &[(String, String)],
    ) -> Option<Vec<T>> {
        let mut services = self.bridges(protocol).peekable();
        services.peek()?;
        let mut found = Vec::new();
        for service in services {
            let path = ["thirdparty", kind, protocol];
            found.extend(self.list(service, &path, fields).await);
        }
        Some(found)
    }

    /// Locations or users (`kind`) of all networks, by the Matrix id that stands for them.
    pub async fn third_party_by_id<T: DeserializeOwned>(
        &self,
        kind: &str,
        key: &str,
        id: &str,
    ) -> Vec<T> {
        let mut found = Vec::new();
        for service in self.all() {
            if service.registration().protocols.is_empty() {
                continue;
            }
            let query = [(key.to_owned(), id.to_owned())];
            found.extend(self.list(service, &["thirdparty", kind], &query).await);
        }
        found
    }

    fn bridges<'a>(&'a self, protocol: &'a str) -> impl Iterator<Item = &'a Service> {
        let services = self.all().iter().map(|service| &**service);
        services.filter(move |service| {
            let protocols = &service.registration().protocols;
            protocols.iter().any(|name| name == protocol)
        })
    }

    async fn list<T: DeserializeOwned>(
        &self,
        service: &Service,
        path: &[&str],
        query: &[(String, String)],
    ) -> Vec<T> {
        let mut found: Vec<T> = self.ask(service, path, query).await.unwrap_or_default();
        found.truncate(MAX_FOUND);
        found
    }

    /// What a service says, if it says anything that can be understood.
    async fn ask<T: DeserializeOwned>(
        &self,
        service: &Service,
        path: &[&str],
        query: &[(String, String)],
    ) -> Option<T> {
        let call = Call {
            method: Method::GET,
            path,
            query,
            body: None,
            time: TIME,
            fallback: Fallback::Unstable,
        };
        let answer: Result<T, String> = match self.inner.client.call(service, call).await {
            Ok(None) => return None,
            Ok(Some(answer)) => answer
                .success()
                .map_err(|error| error.to_string())
                .and_then(|body| serde_json::from_slice(&body).map_err(|error| error.to_string())),
            Err(error) => Err(error.to_string()),
        };
        answer
            .inspect_err(|error| debug!(service = service.id(), error, "nothing looked up"))
            .ok()
    }
}
