//! `wasmcluster serve`.

use core::time::Duration;
use std::hash::{BuildHasher, RandomState};
use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use wasmcluster_core::app;
use wasmcluster_core::cluster::{Gate, Plan, Settings};
use wasmcluster_core::control::AppName;
use wasmcluster_core::message::PULSE;
use wasmcluster_core::record::Record;
use wasmcluster_supervisor::{
    Component, Configuration, Estate, HeldBack, Memory, Misconfigured, Naming, Options, ServeError, Served,
    default_run_dir, serve, spared,
};

use super::args::{Isolation, Sandbox, ServeArgs};
use super::config;
use super::dev::{Dev, Project, Told, Waited};
use super::exit::{Exit, Failure};
use super::render::{self, Look, Renderer};
use super::values::DEFAULT_ADDR;
use super::writer::{Line, Writer};

/// What is served when no component is named.
const DEMO: Component =
    Component::BuiltIn { name: "the built-in demo", bytes: include_bytes!("../demo/demo.wasm") };

/// How long a worker may be silent until new connections go to others: nobody misses three pulses by chance.
const STUCK_AFTER: Duration = PULSE.saturating_mul(3);

/// Serves until it is told to stop, or cannot go on.
pub(crate) fn run(args: ServeArgs) -> Exit {
    let (look, project) = (look(&args), Project::of(&args));
    serve_on(look, project, options(args), None)
}

/// Serves on with what another version has left. Where that is not possible, it does.
pub(crate) fn go_on(estate: Estate) -> Exit {
    let parsed = config::parse_again();
    if estate.is_back() {
        // By what the app was told when it was left: what the files say by now may be for the other version alone.
        let project = parsed.as_ref().ok().and_then(Project::of);
        let look = parsed.or_else(|_| config::parse_line()).as_ref().map_or_else(|_| Look::unknown(), look);
        return serve_on(look, project, Ok(estate.options(DEMO)), Some(estate));
    }
    match parsed.and_then(|args| Ok((look(&args), Project::of(&args), options(args)?))) {
        Ok((look, project, options)) => serve_on(look, project, Ok(options), Some(estate)),
        Err(failure) => {
            estate.give_back(failure.message.clone());
            render::failure(&failure, false)
        }
    }
}

fn look(args: &ServeArgs) -> Look {
    Look {
        json: args.json,
        terminal: std::io::stderr().is_terminal(),
        demo: args.component.is_none(),
        strict: args.instance.isolation == Isolation::Strict,
    }
}

fn serve_on(
    look: Look,
    project: Option<Project>,
    mut options: Result<Options, Failure>,
    mut estate: Option<Estate>,
) -> Exit {
    loop {
        let serving = estate.as_ref().is_some_and(Estate::is_serving);
        let writer = spared(|| Writer::start(Renderer::new(look, serving)));
        let served = options.and_then(|options| {
            let dev = project.clone().map(|project| Dev::start(project, writer.lines(), estate.is_some()));
            let dev = dev.transpose().map_err(ServeError::Setup)?;
            serve_once(options, estate.take(), dev.as_ref(), &writer)
        });
        let ended = match served {
            Ok(Served::Stopped) => Ok(Exit::Done),
            Ok(Served::Upgrading(left)) => Err(left),
            Err(failure) => {
                let exit = failure.exit;
                writer.write(Line::Failure(failure));
                Ok(exit)
            }
        };
        writer.finish();
        match ended {
            Ok(exit) => return exit,
            // It comes back where that is not possible, and then we go on.
            Err(left) => {
                let left = left.execute();
                options = Ok(left.options(DEMO));
                estate = Some(left);
            }
        }
    }
}

/// Serves until there is no more to do, once there is something to serve.
fn serve_once(
    options: Options,
    mut estate: Option<Estate>,
    dev: Option<&Dev>,
    writer: &Writer,
) -> Result<Served, Failure> {
    if options.configuration.serving.dev
        && estate.is_none()
        && !options.addr.ip().to_canonical().is_loopback()
    {
        writer.write(Line::Dev(Told::Warning {
            message: format!("whoever reaches {} is told what goes wrong inside the guest", options.addr),
            hint: "`--dev` is for addresses of this machine, such as 127.0.0.1".into(),
        }));
    }
    loop {
        if let (Some(dev), None) = (dev.filter(|dev| dev.builds()), &estate) {
            let signals = HeldBack::new().map_err(ServeError::Setup)?;
            if dev.wait(&signals) == Waited::Stopped {
                return Ok(Served::Stopped);
            }
        }
        if let Some(dev) = dev {
            dev.serves(true);
        }
        let records = |record| {
            if let (Some(dev), Record::Stopping { .. }) = (dev, &record) {
                dev.stop();
            }
            writer.write(Line::Record(record));
        };
        let served = serve(options.clone(), estate.take(), Box::new(reread), Box::new(records));
        match (served.map_err(Failure::from), dev) {
            // What comes next may be better.
            (Err(failure), Some(dev)) if dev.builds() && failure.exit == Exit::Rejected => {
                dev.serves(false);
                writer.write(Line::Failure(failure));
            }
            (served, _) => return served,
        }
    }
}

/// What the configuration is now.
fn reread() -> Result<Configuration, Misconfigured> {
    match config::parse_again() {
        Ok(args) => Ok(configuration(&args)),
        Err(Failure { message, hint, .. }) => Err(Misconfigured { message, hint }),
    }
}

pub(super) fn options(args: ServeArgs) -> Result<Options, Failure> {
    let cluster = Settings {
        listen_timeout: args.listen_timeout,
        kill_timeout: args.kill_timeout,
        heartbeat_timeout: args.heartbeat_timeout.0,
        stuck_after: Some(STUCK_AFTER),
        max_restarts: args.max_restarts,
        min_uptime: args.min_uptime,
        // Different in each process, which is all that jitter needs.
        seed: RandomState::new().hash_one(0),
        ..Settings::new(args.instances.resolve())
    };
    let configuration = configuration(&args);
    if args.dev && args.component.is_none() {
        let hint = "name a component, or leave `--dev` out".to_owned();
        return Err(Failure::usage(
            "`--dev` serves a component that you write, and none was named",
            Some(hint),
        ));
    }
    if args.watch && args.component.is_none() {
        let hint = "name a component, or leave `--watch` out".to_owned();
        return Err(Failure::usage("`--watch` watches a component's file, and none was named", Some(hint)));
    }
    let cache = match args.cache_dir {
        Some(directory) => directory,
        None => default_cache()?,
    };
    let naming = match args.name {
        Some(name) => Naming::Exactly(name),
        None => default_naming(args.component.as_deref()),
    };
    Ok(Options {
        configuration,
        watch: args.watch,
        addr: args.addr.unwrap_or(DEFAULT_ADDR),
        cluster,
        cache,
        naming,
        run_dir: args.run_dir.unwrap_or_else(default_run_dir),
        memory: Memory {
            directory: args.state_dir.or_else(|| of_this_user("XDG_STATE_HOME", ".local/state")),
            generations: args.history.into(),
        },
    })
}

/// What may be another one after a reload.
pub(super) fn configuration(args: &ServeArgs) -> Configuration {
    let (guest, serving) = (guest(args), serving(args));
    Configuration {
        component: args.component.clone().map_or(DEMO, Component::File),
        guest,
        serving,
        rollout: Plan {
            canaries: args.canary.get(),
            bake: args.bake,
            share: args.canary_weight,
            gate: Gate { errors: args.gate_errors.0, slowness: args.gate_latency.0 },
        },
    }
}

/// Each variable once, with what was said of it last.
fn environment(args: &ServeArgs) -> Vec<(String, String)> {
    let files = args.env_file.iter().flat_map(|file| &file.variables);
    let mut variables: Vec<(String, String)> = Vec::new();
    for (name, value) in files.chain(&args.env) {
        variables.retain(|(other, _)| other != name);
        variables.push((name.clone(), value.clone()));
    }
    variables
}

fn guest(args: &ServeArgs) -> app::Guest {
    let ServeArgs { instance, .. } = args;
    app::Guest {
        env: environment(args),
        dirs: args.dir.clone(),
        config: args.config_var.clone(),
        outbound: args.allow_outbound.clone(),
        limits: app::GuestLimits {
            memory_size: instance.max_memory_size,
            table_elements: instance.max_table_elements,
            core_instances: instance.max_core_instances,
            resources: instance.max_resources,
            hostcall_size: instance.max_hostcall_size,
            field_size: instance.max_field_size,
            outbound_requests: instance.max_outbound_requests,
            concurrent_outbound_requests: instance.max_concurrent_outbound_requests,
            outbound_size: instance.max_outbound_size.0,
            log_lines: instance.max_log_lines,
            log_size: instance.max_log_size,
        },
        compile: app::CompileLimits { time: args.max_compile_time, memory: args.max_compile_memory },
        isolation: match instance.isolation {
            Isolation::Fast => app::Isolation::Fast,
            Isolation::Strict => app::Isolation::Strict,
        },
        coredump: instance.coredump.clone(),
        sandbox: match args.sandbox {
            Sandbox::Off => app::Sandbox::Off,
            Sandbox::BestEffort => app::Sandbox::BestEffort,
            Sandbox::Required => app::Sandbox::Required,
        },
        user: args.user.clone(),
        max_instance_reuse_count: instance.max_instance_reuse_count,
        idle_instance_timeout: instance.idle_instance_timeout,
    }
}

fn serving(args: &ServeArgs) -> app::Serving {
    let ServeArgs { request, .. } = args;
    app::Serving {
        timeout: request.timeout.0,
        header_timeout: request.header_timeout,
        body_timeout: request.body_timeout,
        keep_alive_timeout: request.keep_alive_timeout,
        max_header_size: request.max_header_size,
        max_target_size: request.max_target_size,
        max_headers: request.max_headers,
        max_body_size: request.max_body_size.0,
        max_response_size: request.max_response_size.0,
        max_response_rate: request.max_response_rate.0,
        max_waiting_requests: request.max_waiting_requests,
        max_concurrent_requests: request.max_concurrent_requests,
        max_connections: request.max_connections,
        max_connections_per_address: request.max_connections_per_address.unwrap_or_else(|| {
            let all = request.max_connections;
            // Whoever comes, there is room for somebody else. It is not more because a proxy is one address, too.
            (all - all.div_ceil(16)).max(1)
        }),
        max_keep_alive_requests: request.max_keep_alive_requests,
        max_http2_streams: request.max_http2_streams,
        max_http2_resets: request.max_http2_resets,
        trusted_proxies: request.trust_proxy.clone(),
        probe: args.probe.clone(),
        max_requests: args.max_requests,
        max_memory: args.max_memory_restart,
        dev: args.dev,
    }
}

/// After the component's file.
fn default_naming(component: Option<&Path>) -> Naming {
    let stem = component.map_or(Some("demo".into()), |path| Some(path.file_stem()?.to_string_lossy()));
    Naming::Like(stem.and_then(|stem| AppName::like(&stem)).unwrap_or_default())
}

fn default_cache() -> Result<PathBuf, Failure> {
    of_this_user("XDG_CACHE_HOME", ".cache").ok_or_else(|| Failure {
        exit: Exit::Cache,
        message: "this user has no home directory to keep compiled code in".into(),
        hint: Some("name a directory with `--cache-dir`".into()),
    })
}

/// Our directory for one purpose, as the XDG base directory specification has it.
fn of_this_user(variable: &str, default: &str) -> Option<PathBuf> {
    let xdg = std::env::var_os(variable).map(PathBuf::from).filter(|path| path.is_absolute());
    let home = || Some(std::env::home_dir().filter(|home| home.is_absolute())?.join(default));
    xdg.or_else(home).map(|directory| directory.join("wasmcluster"))
}
