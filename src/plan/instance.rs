//! One arm with one seed: every stage of every step with its params, and what it reads.

use serde_json::Value as Json;

use super::check;
use super::params::Params;
use super::wiring::{Link, Setter, Setting, Settings, Wired, Wiring, common, settings};
use crate::spec::{Node, Problem, ProblemKind, Problems, Scope, Value};
use crate::stage::{ParamKind, Signature};

/// All stages of one arm with one seed.
pub(super) struct Run<'w, 'a> {
    pub wiring: &'w Wiring<'a>,
    /// Those outside the chain, then those of the first step, and so on.
    pub instances: Vec<Option<Instance<'a>>>,
    /// What each carried name is after the last step.
    pub last: Vec<Option<Target<'a>>>,
}

/// A stage of one step.
pub(super) struct Instance<'a> {
    /// All params in the order of the signature; a path param is `null` until it is looked up.
    pub params: Params,
    /// What the path params name, as written.
    pub paths: Vec<(&'a str, Node)>,
    /// The slots that are used and wired.
    pub inputs: Vec<(&'a str, Target<'a>)>,
}

/// Where an input comes from.
#[derive(Debug, Clone)]
pub(super) enum Target<'a> {
    /// An output of the instance with this index.
    Instance(usize, &'a str),
    /// An artifact directory outside the store, as written.
    Path(Box<Node>),
}

impl<'w, 'a> Run<'w, 'a> {
    /// Resolves all params and links, and notes what is wrong with them.
    pub(super) fn new(wiring: &'w Wiring<'a>, seed: u64, problems: &mut Problems) -> Run<'w, 'a> {
        let size = wiring.outside + wiring.steps.len() * wiring.inside();
        let mut run = Run { wiring, instances: Vec::with_capacity(size), last: Vec::new() };
        run.instances.resize_with(size, || None);
        let scope = wiring.scope(seed, None);
        for index in wiring.order.iter().filter(|index| **index < wiring.outside) {
            run.instances[*index] = instance(&wiring.stages[*index], &scope, problems, |link| {
                target(link, None, wiring, &[]).map_or(Wire::Nothing, Wire::Target)
            });
        }
        let mut carried: Vec<Option<Target<'a>>> = Vec::new();
        for carry in &wiring.carry {
            carried.push(carry.initial.as_ref().and_then(|link| target(link, None, wiring, &[])));
        }
        for step in 0..wiring.steps.len() {
            let scope = wiring.scope(seed, Some(step));
            for index in wiring.order.iter().filter(|index| **index >= wiring.outside) {
                let place = run.place(*index, Some(step));
                run.instances[place] = instance(&wiring.stages[*index], &scope, problems, |link| match link {
                    // What is carried may be broken, which was noted.
                    Link::Carry(at) if wiring.carry[*at].initial.is_none() || wiring.carry[*at].next.is_none() => {
                        Wire::Broken
                    }
                    link => target(link, Some(step), wiring, &carried).map_or(Wire::Nothing, Wire::Target),
                });
            }
            let mut next = Vec::with_capacity(carried.len());
            for carry in &wiring.carry {
                let link = carry.next.as_ref();
                let mut target = link.and_then(|link| target(link, Some(step), wiring, &carried));
                if let Some(Target::Path(node)) = &mut target {
                    resolve_in_place(node, &scope, problems);
                }
                next.push(target);
            }
            carried = next;
        }
        run.last = carried;
        run
    }

    /// The index of the instance of a stage in a step.
    pub(super) fn place(&self, stage: usize, step: Option<usize>) -> usize {
        place(self.wiring, stage, step)
    }

    /// The stage and the step of an instance.
    pub(super) fn stage(&self, instance: usize) -> (&'w Wired<'a>, Option<usize>) {
        let Some(beyond) = instance.checked_sub(self.wiring.outside) else {
            return (&self.wiring.stages[instance], None);
        };
        let (step, stage) = (beyond / self.wiring.inside(), beyond % self.wiring.inside());
        (&self.wiring.stages[self.wiring.outside + stage], Some(step))
    }

    /// All instances, producers before consumers.
    pub(super) fn order(&self) -> impl Iterator<Item = usize> + '_ {
        let (outside, inside) = self.wiring.order.split_at(self.wiring.outside.min(self.wiring.order.len()));
        let steps = (0..self.wiring.steps.len())
            .flat_map(move |step| inside.iter().map(move |stage| self.place(*stage, Some(step))));
        outside.iter().copied().chain(steps)
    }

    /// For each instance, whether one of `wanted` needs it.
    pub(super) fn demanded(&self, wanted: impl IntoIterator<Item = usize>) -> Vec<bool> {
        let mut demanded = vec![false; self.instances.len()];
        let mut waiting: Vec<usize> = wanted.into_iter().collect();
        while let Some(index) = waiting.pop() {
            if std::mem::replace(&mut demanded[index], true) {
                continue;
            }
            let inputs = self.instances[index].iter().flat_map(|instance| &instance.inputs);
            waiting.extend(inputs.filter_map(|(_, target)| match target {
                Target::Instance(producer, _) => Some(*producer),
                Target::Path(_) => None,
            }));
        }
        demanded
    }
}

/// What an input slot finds at the end of its link.
enum Wire<'a> {
    Target(Target<'a>),
    Nothing,
    Broken,
}

fn place(wiring: &Wiring<'_>, stage: usize, step: Option<usize>) -> usize {
    match step {
        Some(step) if stage >= wiring.outside => step * wiring.inside() + stage,
        _ => stage,
    }
}

fn target<'a>(
    link: &Link<'a>,
    step: Option<usize>,
    wiring: &Wiring<'a>,
    carried: &[Option<Target<'a>>],
) -> Option<Target<'a>> {
    match link {
        Link::Stage(stage, slot) => Some(Target::Instance(place(wiring, *stage, step), slot)),
        Link::Carry(index) => carried.get(*index).cloned().flatten(),
        Link::Path(node) => Some(Target::Path(Box::new(node.clone()))),
        Link::Nothing => None,
    }
}

fn instance<'a>(
    wired: &Wired<'a>,
    scope: &Scope<'_>,
    problems: &mut Problems,
    follow: impl Fn(&Link<'a>) -> Wire<'a>,
) -> Option<Instance<'a>> {
    let signature = wired.signature?;
    let mut instance = Instance { params: Params::default(), paths: Vec::new(), inputs: Vec::new() };
    match &wired.params {
        Settings::Each(settings, common) => {
            instance.params = Params::sharing(common.clone());
            instance.set(wired.name, settings, scope, problems);
        }
        Settings::Whole(node) => {
            let resolved = scope.resolve(node).map_err(|problem| problems.add(problem)).ok()?;
            let Value::Map(said) = &resolved.value else {
                let what = format!("`params` of `{}`", wired.name);
                problems.add(ProblemKind::wrong_type(what, "a map", &resolved).at(node.mark));
                return None;
            };
            let settings = settings(wired.name, signature, said, wired.mark, problems);
            instance.params = Params::sharing(common(&settings));
            instance.set(wired.name, &settings, scope, problems);
        }
    }
    instance.read(wired, signature, scope, problems, follow);
    Some(instance)
}

impl<'a> Instance<'a> {
    fn set(&mut self, stage: &str, settings: &[Setting<'a>], scope: &Scope<'_>, problems: &mut Problems) {
        for setting in settings {
            let Setter::Open(node) = &setting.value else { continue };
            let value = self.open(stage, setting, node, scope);
            let value = value.map_err(|problem| problems.add(problem)).unwrap_or_default();
            if !value.is_null() {
                self.params.set(setting.name, value);
            }
        }
        self.params.shrink();
    }

    fn open(&mut self, stage: &str, setting: &Setting<'a>, node: &Node, scope: &Scope<'_>) -> Result<Json, Problem> {
        let resolved = scope.resolve(node)?;
        let value = check::value(stage, setting.name, setting.param, &resolved)
            .map_err(|problem| problem.related(node.mark, "used here"))?;
        if setting.param.kind == ParamKind::Path && !value.is_null() {
            self.paths.push((setting.name, resolved));
            return Ok(Json::Null);
        }
        Ok(value)
    }

    fn read(
        &mut self,
        wired: &Wired<'a>,
        signature: &'a Signature,
        scope: &Scope<'_>,
        problems: &mut Problems,
        follow: impl Fn(&Link<'a>) -> Wire<'a>,
    ) {
        for (slot, input) in &signature.inputs {
            if !input.when.holds(|param| self.params.get(param)) {
                continue;
            }
            let wire = match wired.inputs.get(slot.as_str()) {
                None => Wire::Nothing,
                Some(None) => Wire::Broken,
                Some(Some(link)) => follow(link),
            };
            match wire {
                Wire::Target(mut target) => {
                    if let Target::Path(node) = &mut target {
                        resolve_in_place(node, scope, problems);
                    }
                    self.inputs.push((slot, target));
                }
                Wire::Nothing if !input.optional => {
                    let (owner, what) = (format!("stage `{}`", wired.name), format!("the input `{slot}`"));
                    let hint = Some(format!("add `{slot}:` to its `inputs`. {}", input.doc.trim_end()));
                    problems.add(ProblemKind::Missing { owner, what, hint }.at(wired.mark));
                }
                Wire::Nothing | Wire::Broken => {}
            }
        }
    }
}

fn resolve_in_place(node: &mut Node, scope: &Scope<'_>, problems: &mut Problems) {
    match scope.resolve(node) {
        Ok(resolved) if resolved.as_str().is_some() => *node = resolved,
        Ok(resolved) => problems.add(ProblemKind::wrong_type("`path` of an input", "a path", &resolved).at(node.mark)),
        Err(problem) => problems.add(problem),
    }
}
