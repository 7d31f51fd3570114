"""The routing policy: which queue, owner, priority and deadlines a case gets."""
