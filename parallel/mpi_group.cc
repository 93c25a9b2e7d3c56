// SPDX-License-Identifier: Apache-2.0
// Which transport an MPI group uses: shared memory when all ranks can map one region, otherwise
// messages. One rank needs neither.
#include "parallel/mpi_group.h"

#include "parallel/shared_collectives.h"

namespace tamis {

Group MakeMpiGroup(const MpiEnv& env) {
  if (env.world().size == 1) return MakeSelfGroup();
  auto control = std::make_unique<MpiControl>(env.world());
  std::unique_ptr<Collectives> collectives = MakeSharedCollectives(env.world(), *control);
  if (collectives == nullptr) collectives = MakeMpiCollectives(*control);
  return {std::move(control), std::move(collectives)};
}

Group MakeMpiMessageGroup(const MpiEnv& env) {
  if (env.world().size == 1) return MakeSelfGroup();
  auto control = std::make_unique<MpiControl>(env.world());
  std::unique_ptr<Collectives> collectives = MakeMpiCollectives(*control);
  return {std::move(control), std::move(collectives)};
}

}  // namespace tamis
