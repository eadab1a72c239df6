"""Of all that Ray Serve says of replicas that did not start, the line that helps."""

from maskkv.cluster.reasons import said_most

FAILED = "Deploying application maskkv failed: Failed to update the deployments ['Replica']."
TRACE = """The deployment failed to start 3 times in a row. See controller logs for details. Error:
ray::ServeReplica:maskkv:Replica.initialize_and_get_metadata() (pid=1)
  File "/x/replica.py", line 53, in __init__
maskkv.errors.InputError: there is no model /nowhere
"""


def test_an_error_of_a_replica_is_said_and_not_that_there_was_one():
    assert said_most([FAILED, "", TRACE]) == "InputError: there is no model /nowhere"
    assert said_most([FAILED, "torch.OutOfMemoryError: too much\nRetrying"]) == "torch.OutOfMemoryError: too much"


def test_without_any_the_first_message_is_said():
    assert said_most([FAILED, "Starting."]) == FAILED
    assert said_most([""]) == "Ray's logs say more"
