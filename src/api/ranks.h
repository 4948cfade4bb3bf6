// awq quantize --tp-pad: a model that tensor-parallel ranks can share, and who shares it then.
#pragma once

#include <awq/awq.h>

#include <cstddef>
#include <memory>
#include <string_view>

#include "checkpoint/stored_model.h"
#include "pipeline/plan.h"

namespace awq::api {

// The model as so many ranks can share it; `plan` keeps the groups that it has without padding.
Result<std::unique_ptr<checkpoint::StoredModel>> ForRanks(
    std::unique_ptr<checkpoint::StoredModel> model, std::size_t ranks, pipeline::PlanOptions& plan,
    const Runtime& runtime);

// Tells the sink which programs that know ranks will nevertheless not take what is planned on so
// many, and the first reason of each. `file_format` is a row of pack::Formats() or kGguf.
Status NoteWhoCannotShare(const checkpoint::StoredModel& model, const pipeline::Plan& plan,
                          std::string_view file_format, std::size_t ranks, const Runtime& runtime);

}  // namespace awq::api
