"""Supervising a cluster: the lease, recovery, and instances from start to end."""

from __future__ import annotations

import logging
import threading
from collections.abc import Collection, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from typing import TYPE_CHECKING

from ziggy_dask.definitions import DataReceiptStep, Keep, Pipeline
from ziggy_dask.engine.actions import (
    EndCause,
    EndInstance,
    FailureCause,
    Leave,
    Retry,
)
from ziggy_dask.engine.alerts import alert
from ziggy_dask.engine.code import adopt_code
from ziggy_dask.engine.context import load_context, scaffold_name, stored_models
from ziggy_dask.engine.decide import HALTED
from ziggy_dask.engine.events import (
    InstanceEnded,
    Listener,
    Opened,
    Planned,
    harmless,
    unheard,
)
from ziggy_dask.engine.intake import receive_deliveries
from ziggy_dask.engine.launch import Request, launch, plan, request_from_options
from ziggy_dask.engine.open_cluster import OpenCluster
from ziggy_dask.engine.publish import reconcile
from ziggy_dask.engine.restart import Restart, passed_over, plan_restart
from ziggy_dask.engine.run import InstanceRun
from ziggy_dask.engine.staffing import staffed
from ziggy_dask.engine.work_orders import require_models
from ziggy_dask.errors import (
    ComputeLostError,
    ConnectionLostError,
    DefinitionError,
    LeaseError,
    RecordsError,
    ZiggyError,
)
from ziggy_dask.planning import Plan, selected_nodes, task_to_json
from ziggy_dask.pools.autoscaler import opened_compute
from ziggy_dask.records import (
    InstanceState,
    TaskStep,
    clocks,
    count_tasks,
    instance_state,
    instances,
    outcomes,
)
from ziggy_dask.records.alerts import Severity
from ziggy_dask.records.catalogue import catch_up
from ziggy_dask.records.instances import InstanceRecord, NewTask
from ziggy_dask.records.lease import (
    REFRESH_S,
    Lease,
    current_lease,
    give_back_lease,
    refresh_lease,
    take_lease,
)
from ziggy_dask.records.restarts import Reset, reset_tasks
from ziggy_dask.workers import SubtaskState, tidy

if TYPE_CHECKING:
    from distributed import Client

logger = logging.getLogger(__name__)

_PLANS_TRIED = 3
"""So often a plan is made before others have to wait until one is."""


def run(
    site: OpenCluster,
    request: Request,
    *,
    client: Client | None = None,
    listen: Listener = unheard,
) -> InstanceRecord:
    """Run a pipeline in the foreground, from launch to end.

    Parameters
    ----------
    site
        The open cluster.
    request
        What to run.
    client
        A Dask client to use; None: start the cluster file's compute environment.
    listen
        Is told what happens.

    Returns
    -------
    InstanceRecord
        The instance as it ended; a failed task is not an exception.

    Raises
    ------
    DefinitionError
        If the request does not fit the pipeline.
    LeaseError
        If another supervisor is in charge.
    """
    with _in_charge_to_the_end(site, client):
        number = launch(site, request)
        return work_on(site, number, client, harmless(listen))


def continue_instance(
    site: OpenCluster,
    number: int | None = None,
    *,
    client: Client | None = None,
    listen: Listener = unheard,
) -> InstanceRecord:
    """Go on with an instance whose supervisor went away; one that has ended stays so.

    Parameters
    ----------
    site
        The open cluster.
    number
        The instance; None: the newest one that has not ended.
    client
        A Dask client to use.
    listen
        Is told what happens.

    Raises
    ------
    RecordsError
        If there is no such instance.
    """
    with _in_charge_to_the_end(site, client):
        if number is None:
            number = _newest_unended(site)
        record = instances.instance(site.database, number)
        if record.state.is_final:
            return record
        return work_on(site, number, client, harmless(listen))


def restart_tasks(
    site: OpenCluster,
    asked: Restart,
    *,
    client: Client | None = None,
    listen: Listener = unheard,
) -> list[InstanceRecord]:
    """Bring tasks back to where they can run, and run their instances to the end.

    Parameters
    ----------
    site
        The open cluster.
    asked
        What to restart.
    client
        A Dask client to use.
    listen
        Is told what happens.

    Returns
    -------
    list
        The instances; empty if there is nothing to restart.
    """
    if not plan_restart(site.database, asked):
        return []
    with _in_charge_to_the_end(site, client):
        # Others may have restarted the same meanwhile: what counts is how it is now.
        resets = reset_all(site, asked)
        heard = harmless(listen)
        return [work_on(site, one.instance, client, heard) for one in resets]


def reset_all(site: OpenCluster, asked: Restart) -> list[Reset]:
    """Bring the tasks of a restart back to where they can run; tell of those left out."""
    resets = plan_restart(site.database, asked)
    for task, reason in passed_over(site.database, asked):
        alert(
            site,
            Severity.WARNING,
            f"{task.node} {task.unit} is not restarted: {reason}",
            instance=task.instance,
            task=task.id,
        )
    for reset in resets:
        reset_tasks(site.database, reset)
    return resets


def halt_tasks(site: OpenCluster, numbers: Sequence[int]) -> int:
    """End tasks, by whoever supervises them; return how many had not ended.

    If nobody does, they are marked as halted at once; else the supervisor is asked,
    and does it within seconds.
    """
    is_supervised = current_lease(site.database) is not None
    asked = instances.ask_to_halt(site.database, numbers, is_supervised=is_supervised)
    _halt_unsupervised(site)
    return asked


def halt_idle(site: OpenCluster, active: Collection[int] = ()) -> None:
    """Let halts of instances take effect, but of those that are worked on."""
    for number in instances.halting_instances(site.database) - set(active):
        _mark_halted(site, number)


def _halt_unsupervised(site: OpenCluster) -> None:
    """Let halts take effect that no supervisor is there for."""
    while instances.halting_instances(site.database):
        if current_lease(site.database) is not None:
            return
        with suppress(LeaseError), in_charge(site):
            halt_idle(site)


@contextmanager
def _in_charge_to_the_end(site: OpenCluster, client: Client | None) -> Iterator[None]:
    """Be in charge; leave no halt behind that was left to this supervisor.

    Work that no worker of a client takes is told of; who opens one itself does that, too.
    """
    watched = nullcontext() if client is None else staffed(site, client)
    try:
        with in_charge(site), watched:
            yield
    finally:
        _halt_unsupervised(site)


def _mark_halted(site: OpenCluster, instance: int) -> None:
    """Let the halts of an instance that nobody works on take effect."""
    record = instances.instance(site.database, instance)
    with site.writing:  # what a commit names is complete, and can't be halted
        reconcile(site.repository, site.database, record)
    for task in instances.halting(site.database, instance):
        instances.fail_task(
            site.database, task, None, HALTED, FailureCause.HALTED.value
        )
        alert(
            site,
            Severity.ERROR,
            f"task {task} was halted",
            instance=instance,
            task=task,
        )
    tasks = instances.tasks(site.database, instance)
    counts = count_tasks((task.step, task.is_error) for task in tasks)
    is_over = record.state.is_final
    state = instance_state(counts, can_go_on=not is_over and _has_work(site, instance))
    _set_state(site, instance, state)


@contextmanager
def in_charge(site: OpenCluster) -> Iterator[Lease]:
    """Be the supervisor of a cluster for a while.

    Raises
    ------
    LeaseError
        If another process is.
    """
    lease = take_lease(site.database)
    site.repository.permit = site.database.require_lease
    ended = threading.Event()
    beat = threading.Thread(
        target=_keep_lease, args=(site, lease, ended), name="ziggy-lease", daemon=True
    )
    beat.start()
    try:
        with site.writing:
            if lease.follows_silent:
                site.repository.fence(f"process {lease.pid} on {lease.host} takes over")
            catch_up(site.database, site.repository)
        yield lease
    finally:
        ended.set()
        beat.join()
        try:
            if (
                not site.is_hung.is_set()
            ):  # else it is held to the lease until that runs out
                give_back_lease(site.database, lease)
        except ConnectionLostError as error:
            logger.warning("the lease is left to run out: %s", error)


def _keep_lease(site: OpenCluster, lease: Lease, ended: threading.Event) -> None:
    while not ended.wait(REFRESH_S):
        try:
            refresh_lease(site.database, lease)
        except LeaseError:
            logger.warning("another supervisor has taken over this cluster")
            site.stop.set()
            return
        except RecordsError as error:
            logger.warning("the lease could not be refreshed, trying again: %s", error)


def _newest_unended(site: OpenCluster) -> int:
    unended = [i for i in instances.instances(site.database) if not i.state.is_final]
    if not unended:
        raise RecordsError("no instance is left to resume: all have ended")
    return unended[-1].id


def work_on(
    site: OpenCluster,
    number: int,
    client: Client | None,
    listen: Listener,
    *,
    is_served: bool = False,
) -> InstanceRecord:
    """Bring an instance as far as it gets; for whoever is in charge.

    Parameters
    ----------
    site
        The open cluster.
    number
        Number of the instance.
    client
        A Dask client to use; None: start the cluster file's compute environment.
    listen
        Is told what happens.
    is_served
        Whether a supervisor in the background does it: what it leaves is resumed.

    Returns
    -------
    InstanceRecord
        The instance in a final state; or as it is, if the supervisor is to stop.

    Raises
    ------
    ZiggyError
        If it can't be worked on. It has a final state and a message then, and an alert
        tells of it, unless the next supervisor resumes it by itself.
    """
    try:
        return _work_on(site, number, client, listen)
    except (LeaseError, ConnectionLostError):
        raise  # nobody here may write, or can
    except ComputeLostError as error:
        if is_served:  # the next supervisor resumes it
            raise
        give_up(site, number, str(error))
        raise ComputeLostError(
            f"{error}; when it is back: ziggy restart --instance {number}"
        ) from error
    except Exception as error:
        name = "" if isinstance(error, ZiggyError) else f"{type(error).__name__}: "
        give_up(site, number, f"{name}{error}")
        raise


def give_up(site: OpenCluster, number: int, reason: str) -> None:
    """Bring an instance that can't be worked on to a final state, and tell operators."""
    if instances.instance(site.database, number).state.is_final:
        return  # and it has been said why
    has_failed = any(t.is_error for t in instances.tasks(site.database, number))
    state = (
        InstanceState.ERRORS_STALLED if has_failed else InstanceState.TRANSITION_FAILED
    )
    _set_aside(site, number)
    instances.set_instance_state(site.database, number, state, reason)
    alert(
        site,
        Severity.INFRASTRUCTURE,
        f"instance {number} can't go on: {reason}; when that is fixed: "
        f"ziggy restart --instance {number}",
        instance=number,
    )


def _work_on(
    site: OpenCluster, number: int, client: Client | None, listen: Listener
) -> InstanceRecord:
    record = instances.instance(site.database, number)
    clocks.stop_left_running(site.database, number)
    with site.writing:
        reconcile(site.repository, site.database, record)
    if instances.halting(site.database, number):
        _mark_halted(site, number)
    _set_aside(site, number)
    instances.set_instance_state(site.database, number, InstanceState.PROCESSING)
    is_over: EndInstance | Leave | None = None
    if _prepare(site, record, listen) and _has_work(site, number):
        is_over = _run_tasks(site, number, client, listen)
    if isinstance(is_over, Leave):
        site.database.require_lease()  # if it was lost, that is why it was left
        return instances.instance(site.database, number)
    if is_over is not None and is_over.cause is EndCause.STUCK:
        raise RecordsError(
            f"tasks of instance {number} are left that wait for nothing, and yet can't "
            "begin; see: ziggy tasks"
        )
    return _settle_state(site, number, listen)


def _set_aside(site: OpenCluster, number: int) -> None:
    """Show no task as running that nobody works on."""
    instances.move_tasks(
        site.database,
        [one.id for one in instances.tasks(site.database, number) if one.position >= 0],
        TaskStep.WAITING_TO_RUN,
        [TaskStep.QUEUED, TaskStep.EXECUTING, TaskStep.STORING],
    )


def _prepare(site: OpenCluster, record: InstanceRecord, listen: Listener) -> bool:
    """Take in deliveries and make the tasks; return whether there is more to do."""
    with site.planning:
        return _receive_and_plan(site, record, listen)


def _receive_and_plan(
    site: OpenCluster, record: InstanceRecord, listen: Listener
) -> bool:
    record = adopt_code(site, record)
    if record.is_planned:
        return True
    number = record.id
    pipeline, _ = instances.instance_pipeline(site.database, number)
    request = request_from_options(record.pipeline, record.options)
    if _receives(pipeline, request):
        with site.writing:
            all_good = receive_deliveries(
                site,
                number,
                pipeline,
                listen,
                directory=request.receipt,
                needs_manifest=request.needs_manifest,
                labels=request.labels,
            )
        if not all_good:
            return False
    with site.writing:
        catch_up(site.database, site.repository)
    made, tip = _plan_of_one_moment(site, pipeline, request)
    if not made.tasks and not made.unchanged and not _receives_only(pipeline, request):
        raise DefinitionError(
            f"instance {number} has no units of work: " + "; ".join(made.warnings)
        )
    stored = stored_models(site.repository, pipeline, tip)
    require_models(pipeline, made.tasks, stored)
    instances.create_tasks(
        site.database,
        number,
        [
            NewTask(
                position=task.index,
                node=task.node,
                unit=task.unit.name,
                plan=task_to_json(task),
                total=task.count,
            )
            for task in made.tasks
        ],
        base_snapshot=tip,
    )
    if made.warnings:
        listen(Planned(instance=number, nodes={}, warnings=made.warnings))
    return True


def _plan_of_one_moment(
    site: OpenCluster, pipeline: Pipeline, request: Request
) -> tuple[Plan, str]:
    """Return a plan, and the publication that it is of, which its tasks are to read.

    Other instances may publish meanwhile; then it is made again, at last while they wait.
    """
    for _ in range(_PLANS_TRIED):
        tip = site.repository.tip()
        made = plan(site, pipeline, request, {}, keeps=True)
        if site.repository.tip() == tip:
            return made, tip
    with site.writing:
        tip = site.repository.tip()
        return plan(site, pipeline, request, {}, keeps=True), tip


def _receives(pipeline: Pipeline, request: Request) -> bool:
    names = selected_nodes(pipeline, request.start, request.stop)
    return any(isinstance(pipeline.by_name[n].step, DataReceiptStep) for n in names)


def _receives_only(pipeline: Pipeline, request: Request) -> bool:
    names = selected_nodes(pipeline, request.start, request.stop)
    return all(isinstance(pipeline.by_name[n].step, DataReceiptStep) for n in names)


def _has_work(site: OpenCluster, number: int) -> bool:
    return any(
        task.step is not TaskStep.COMPLETE and not task.is_error
        for task in instances.tasks(site.database, number)
    )


def _run_tasks(
    site: OpenCluster, number: int, client: Client | None, listen: Listener
) -> EndInstance | Leave:
    context = load_context(site, instances.instance(site.database, number))

    def warn(words: str) -> None:
        listen(Planned(instance=number, nodes={}, warnings=(words,)))

    opened: AbstractContextManager[Client] = (
        nullcontext(client) if client is not None else opened_compute(site, warn)
    )
    try:
        with opened as used:
            if client is None:
                page = site.show(site, used)
                listen(Opened(dashboard=used.dashboard_link or "", page=page))
            while True:
                over = InstanceRun(site, context, used, listen).run()
                if not isinstance(over, Retry):
                    return over
                _retry(site, number, over)
    finally:
        _tidy_up(site, number)


def _retry(site: OpenCluster, number: int, retry: Retry) -> None:
    """Bring tasks back to where what failed of them runs once more, and tell of it."""
    chosen = set(retry.tasks)
    again = [
        task
        for task in instances.tasks(site.database, number)
        if task.position in chosen
    ]
    for task in again:
        alert(
            site,
            Severity.WARNING,
            f"{task.node} {task.unit}: {task.failed} failed run again: {task.message}",
            instance=number,
            task=task.id,
        )
    numbers = tuple(task.id for task in again)
    asked = Restart(tasks=numbers, is_automatic=True)
    for reset in plan_restart(site.database, asked):
        reset_tasks(site.database, reset)


def _tidy_up(site: OpenCluster, instance: int) -> None:
    """Remove working directories, but for those that are to stay."""
    site.database.require_lease()  # or another supervisor's programs run in them
    programs = site.cluster.programs
    if programs.keep is Keep.ALL or not programs.work.is_dir():
        return
    kept: set[tuple[int, int]] = set()
    if programs.keep is Keep.FAILED:
        kept.update(
            (task.id, one.number)
            for task in instances.tasks(site.database, instance)
            if task.failed
            for one in outcomes.subtasks(site.database, task.id, SubtaskState.FAILED)
        )
    tidy(programs.work, instance, kept)


def _settle_state(site: OpenCluster, number: int, listen: Listener) -> InstanceRecord:
    tasks = instances.tasks(site.database, number)
    counts = count_tasks((task.step, task.is_error) for task in tasks)
    state = instance_state(counts, can_go_on=False)
    _set_state(site, number, state)
    listen(InstanceEnded(instance=number, state=state))
    return instances.instance(site.database, number)


def left_scaffolds(site: OpenCluster, records: Sequence[InstanceRecord]) -> list[str]:
    """Return the scaffolds of instances that have ended; a supervisor that dies leaves them."""
    open_ = {scaffold_name(one.id) for one in records if not one.state.is_final}
    return [name for name in site.repository.scaffolds if name not in open_]


def _set_state(site: OpenCluster, number: int, state: InstanceState) -> None:
    """Set the state of an instance; a restart makes its scaffold anew."""
    instances.set_instance_state(site.database, number, state)
    if state.is_final:
        with site.writing:
            site.repository.drop_scaffold(scaffold_name(number))
